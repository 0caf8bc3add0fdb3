use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use faultfs::{Ops, Options};

use crate::support::mounted;

#[test]
fn operations_are_counted_by_class_and_path_with_their_times() {
    let share = mounted(Options::default());
    fs::create_dir_all(share.at("Logs/ci-1")).unwrap();
    share.reset_counts();
    let mut log = File::create(share.at("Logs/ci-1/output.log")).unwrap();
    for line in 0..7 {
        log.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    log.sync_all().unwrap();
    drop(log);
    fs::write(share.at("elsewhere"), b"12345").unwrap();
    fs::rename(share.at("elsewhere"), share.at("there")).unwrap();

    let logs = share.counts_under("Logs");
    assert_eq!((logs.of(Ops::CREATE), logs.of(Ops::WRITE), logs.of(Ops::FSYNC), logs.of(Ops::FLUSH)), (1, 7, 1, 1));
    assert_eq!((logs.of(Ops::RENAME), logs.bytes_written), (0, 14));
    let all = share.counts();
    assert_eq!((all.of(Ops::WRITE), all.of(Ops::RENAME), all.bytes_written), (8, 1, 19));
    assert_eq!(all.of(Ops::WRITE | Ops::RENAME), 9);

    let writes = share.records(Ops::WRITE, "Logs/ci-1");
    assert_eq!(writes.iter().map(|write| write.offset).collect::<Vec<_>>(), [0, 2, 4, 6, 8, 10, 12]);
    assert!(writes.is_sorted_by_key(|write| write.at));
    assert_eq!(share.busiest(Ops::WRITE, "Logs", Duration::from_secs(60)), 7);
    assert_eq!(share.busiest(Ops::WRITE, "Logs", Duration::from_nanos(1)), 1);
    share.reset_counts();
    assert_eq!(share.counts().of(Ops::ALL), 0);
}

/// A mirror that counts its write calls must know this: a request holds 256 pages, so a call of a
/// mebibyte becomes two unless the offset in the file (or, with direct I/O, the buffer in memory)
/// begins on a page.
#[test]
fn one_write_call_of_a_mebibyte_is_one_request_only_where_it_begins_on_a_page() {
    const MEBIBYTE: usize = 1 << 20;
    let memory = vec![b'x'; MEBIBYTE + 8192];
    let on_a_page = memory.as_ptr().align_offset(4096);
    for (direct_io, offset, into_page, requests) in
        [(false, 0, 1, 1), (false, 1, 0, 2), (true, 1, 0, 1), (true, 0, 1, 2)]
    {
        let share = mounted(Options { direct_io, ..Options::default() });
        let file = File::create(share.at("file")).unwrap();
        let buffer = &memory[on_a_page + into_page..][..MEBIBYTE];
        std::os::unix::fs::FileExt::write_all_at(&file, buffer, offset).unwrap();
        let writes = share.records(Ops::WRITE, "");
        let sizes: Vec<u64> = writes.iter().map(|write| write.bytes).collect();
        assert_eq!(sizes.len(), requests, "direct_io {direct_io}, offset {offset}, into_page {into_page}: {sizes:?}");
    }
}
