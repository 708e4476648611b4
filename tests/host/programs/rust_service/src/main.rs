//! A Rust service on jemalloc, or on google/tcmalloc, that drives libmemgov's C interface by itself, with an observer
//! and a pressure hook. Grows to so many MiB, frees nine tenths of each, and works on the rest until its standard input
//! ends. One JSON object a line.
use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::{env, mem, process, ptr, thread, time::Duration};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(feature = "tcmalloc")]
#[global_allocator]
static GLOBAL: tcmalloc_better::TCMalloc = tcmalloc_better::TCMalloc;

/// As in memgov.h.
#[repr(C)]
struct Event {
    size: usize,
    kind: c_int,
    at_ns: u64,
    text: *const c_char,
    enforcing: c_int,
    directive_id: u64,
    action: c_int,
    level: c_int,
    bytes: u64,
    outcome: c_int,
    before_bytes: u64,
    after_bytes: u64,
    wall_ns: u64,
}

#[repr(C)]
struct Options {
    size: usize,
    socket: *const c_char,
    name: *const c_char,
    log: Option<extern "C" fn(*mut c_void, *const c_char)>,
    on_event: Option<extern "C" fn(*mut c_void, *const Event)>,
    user: *mut c_void,
    local: c_int,
}

#[repr(C)]
struct Pressure {
    size: usize,
    level: c_int,
    bytes: u64,
    until_ns: u64,
}

#[repr(C)]
struct Hook {
    size: usize,
    name: *const c_char,
    priority: c_int,
    give: extern "C" fn(*mut c_void, *const Pressure) -> u64,
    user: *mut c_void,
}

extern "C" {
    fn memgov_start(options: *const Options) -> c_int;
    fn memgov_stop();
    fn memgov_status() -> c_int;
    fn memgov_thread_checkpoint();
    fn memgov_version() -> *const c_char;
    fn memgov_on_pressure(hook: *const Hook, handle: *mut u64) -> c_int;
    fn memgov_off_pressure(handle: u64) -> c_int;
}

static CACHE: Mutex<VecDeque<Vec<u8>>> = Mutex::new(VecDeque::new());

const OUTCOME: c_int = 4;

extern "C" fn on_event(_: *mut c_void, event: *const Event) {
    let event = unsafe { &*event };
    assert!(event.size >= mem::size_of::<Event>());
    if event.kind == OUTCOME {
        println!(
            "{{\"outcome\":{},\"action\":{},\"before_mib\":{},\"after_mib\":{}}}",
            event.outcome, event.action, event.before_bytes >> 20, event.after_bytes >> 20
        );
    }
}

extern "C" fn give(_: *mut c_void, pressure: *const Pressure) -> u64 {
    let wanted = unsafe { (*pressure).bytes };
    let mut given = 0;
    let mut cache = CACHE.lock().unwrap();
    while given < wanted {
        match cache.pop_front() {
            Some(block) => given += block.len() as u64,
            None => break,
        }
    }
    println!("{{\"gave\":{given}}}");
    given
}

fn main() {
    let mib: usize = env::args().nth(1).and_then(|text| text.parse().ok()).expect("MiB");
    let cache_mib: usize = env::args().nth(2).and_then(|text| text.parse().ok()).expect("MiB of cache");
    let hook = Hook { size: mem::size_of::<Hook>(), name: c"blocks".as_ptr(), priority: 0, give, user: ptr::null_mut() };
    let mut handle = 0;
    assert_eq!(unsafe { memgov_on_pressure(&hook, &mut handle) }, 0);
    let options = Options {
        size: mem::size_of::<Options>(),
        socket: ptr::null(),
        name: c"rust".as_ptr(),
        log: None,
        on_event: Some(on_event),
        user: ptr::null_mut(),
        local: 0,
    };
    assert_eq!(unsafe { memgov_start(&options) }, 0);

    let blocks: Vec<Vec<u8>> = (0..mib * 256).map(|number| vec![(number % 251) as u8; 4000]).collect();
    let kept: Vec<Vec<u8>> =
        blocks.into_iter().enumerate().filter(|(number, _)| number % 256 < 26).map(|(_, block)| block).collect();
    CACHE.lock().unwrap().extend((0..cache_mib).map(|_| vec![7u8; 1 << 20]));
    let version = unsafe { CStr::from_ptr(memgov_version()) }.to_str().unwrap();
    println!("{{\"ready\":true,\"version\":\"{version}\"}}");

    static ENDED: AtomicBool = AtomicBool::new(false);
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        ENDED.store(true, Ordering::Relaxed);
    });
    while !ENDED.load(Ordering::Relaxed) {
        if kept.iter().any(|block| block.iter().any(|byte| *byte != block[0])) {
            process::exit(1);
        }
        unsafe { memgov_thread_checkpoint() };
        thread::sleep(Duration::from_millis(50));
    }
    unsafe {
        memgov_stop();
        assert_eq!(memgov_off_pressure(handle), 0);
        assert_eq!(memgov_status(), 0);
    }
    println!("{{\"final\":true}}");
}
