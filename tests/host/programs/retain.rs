//! As retain.py, in Rust, whose system allocator is glibc's.
use std::{env, process, thread, time::Duration};

fn main() {
    let mib: usize = env::args().nth(1).and_then(|text| text.parse().ok()).expect("MiB");
    let blocks: Vec<Vec<u8>> = (0..mib * 256).map(|number| vec![(number % 251) as u8; 4000]).collect();
    let kept: Vec<Vec<u8>> =
        blocks.into_iter().enumerate().filter(|(number, _)| number % 2560 < 40).map(|(_, block)| block).collect();
    println!("{{\"ready\":true}}");
    loop {
        thread::sleep(Duration::from_millis(100));
        if kept.iter().any(|block| block.iter().any(|byte| *byte != block[0])) {
            process::exit(1);
        }
    }
}
