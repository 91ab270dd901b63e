use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn meta() -> CacheMeta {
    CacheMeta::new(
        at(110),
        at(100),
        5,
        20,
        ResponseHeader::build(200, None).unwrap(),
    )
}

#[test]
fn freshness_ends_when_it_was_said_to() {
    let mut meta = meta();
    assert!(meta.is_fresh(at(110)) && !meta.is_fresh(at(111)));
    assert_eq!(meta.fresh_sec(), 10);
    meta.set_epoch_override(at(108));
    assert_eq!((meta.fresh_sec(), meta.epoch()), (2, at(108)));
    meta.set_epoch_override(at(200));
    assert_eq!(meta.fresh_sec(), 0);
    meta.remove_epoch_override();
    assert_eq!(meta.epoch(), at(100));
    meta.expire_at(at(50));
    assert!(!meta.is_fresh(at(51)));
}

#[test]
fn stale_windows_begin_where_freshness_ends() {
    let mut meta = meta();
    assert!(meta.serve_stale_while_revalidate(at(115)));
    assert!(!meta.serve_stale_while_revalidate(at(116)));
    assert!(meta.serve_stale_if_error(at(130)) && !meta.serve_stale_if_error(at(131)));
    meta.disable_serve_stale();
    assert!(!meta.serve_stale_if_error(at(111)));
    meta.update_freshness(at(120), 1, 0);
    assert!(meta.serve_stale_while_revalidate(at(121)));
    assert!(!meta.serve_stale_if_error(at(121)));
}

#[test]
fn meta_is_one_pointer_wide() {
    assert_eq!(size_of::<CacheMeta>(), size_of::<usize>());
}

#[test]
fn the_body_keeps_its_origin() {
    let mut old = meta();
    old.set_provenance(at(90));
    let mut new = CacheMeta::new(at(300), at(200), 0, 0, old.response_header_copy());
    assert_eq!(new.provenance(), at(200));
    new.confirm(&old);
    assert_eq!((new.created(), new.updated()), (at(100), at(200)));
    assert_eq!((new.provenance(), new.epoch()), (at(90), at(200)));
}

fn full() -> CacheMeta {
    let mut header = ResponseHeader::build(299, None).unwrap();
    header.set_version(http::Version::HTTP_2);
    header.set_reason_phrase(Some("Fine")).unwrap();
    for (name, value) in [
        ("ETag", &b"a"[..]),
        ("x-B", b"1"),
        ("x-B", b"\xff"),
        ("Empty", b""),
    ] {
        header.append_header(name, value).unwrap();
    }
    let mut meta = CacheMeta::new(at(110), at(100), 5, u32::MAX, header);
    meta.set_variance([9; 16]);
    meta.set_epoch_override(at(98) + Duration::from_nanos(7));
    meta.set_provenance(at(97));
    meta.set_generation(5);
    meta
}

#[test]
fn what_is_written_is_read() {
    let mut no_case = ResponseHeader::build_no_case(200, None).unwrap();
    no_case.append_header("a", "b").unwrap();
    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(5);
    let far = at(1 << 40);
    for meta in [full(), meta(), CacheMeta::new(far, early, 0, 0, no_case)] {
        let (internal, header) = meta.serialize().unwrap();
        let read = CacheMeta::deserialize(&internal, &header).unwrap();
        // Spelt out here as well, as the written one was.
        if read.response_header().has_case() {
            assert!(read.response_header().case_header_iter().count() < 9);
        }
        assert_eq!(format!("{meta:?}"), format!("{read:?}"));
        let mut wire = [Vec::new(), Vec::new()];
        meta.response_header().header_to_h1_wire(&mut wire[0]);
        read.response_header().header_to_h1_wire(&mut wire[1]);
        assert_eq!(wire[0], wire[1]);
    }
}

#[test]
fn what_is_damaged_is_refused() {
    let (internal, header) = full().serialize().unwrap();
    for end in 0..internal.len() {
        assert!(
            CacheMeta::deserialize(&internal[..end], &header).is_err(),
            "{end}"
        );
    }
    for end in 0..header.len() {
        assert!(
            CacheMeta::deserialize(&internal, &header[..end]).is_err(),
            "{end}"
        );
    }
    for at in 0..header.len() {
        for byte in [0, 1, 0x0a, 0x7f, 0xff] {
            let mut damaged = header.clone();
            damaged[at] = byte;
            // Read or refused, but no panic, and no room for what isn't there.
            let _ = CacheMeta::deserialize(&internal, &damaged);
        }
    }
    for (at, byte) in [(0, 0), (0, 2)] {
        let mut other = internal.clone();
        other[at] = byte;
        assert!(CacheMeta::deserialize(&other, &header).is_err());
    }
    let longer = [internal, vec![0]].concat();
    assert!(CacheMeta::deserialize(&longer, &header).is_err());
}

#[test]
fn no_dictionary_is_used() {
    assert!(!set_compression_dict_path("/dev/null"));
    assert!(!set_compression_dict_content(Cow::Borrowed(b"content")));
}
