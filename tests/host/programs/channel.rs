//! A worker makes so many small blocks, drops all but every 400th, and waits for its next job on a channel, which never
//! comes; the main thread waits for the worker. The allocator is glibc's. Knows no memgov.
use std::{env, sync::mpsc, thread};

fn main() {
    let blocks: usize = env::args().nth(1).and_then(|text| text.parse().ok()).expect("a number of blocks");
    let (sender, jobs) = mpsc::channel::<usize>();
    let worker = thread::spawn(move || {
        let mut kept: Vec<Box<[u8; 40]>> = Vec::new();
        while let Ok(job) = jobs.recv() {
            let all: Vec<Box<[u8; 40]>> = (0..job).map(|number| Box::new([number as u8; 40])).collect();
            kept.extend(all.into_iter().step_by(400));
            println!("{{\"ready\":true,\"kept\":{}}}", kept.len());
        }
    });
    sender.send(blocks).unwrap();
    worker.join().unwrap(); // the sender lives on, so the worker waits
}
