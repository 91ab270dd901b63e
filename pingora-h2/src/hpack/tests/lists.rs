//! The field list of one message: its bounds and its section.

use bytes::Bytes;

use super::*;

#[test]
fn a_refused_list_is_decoded_for_the_sake_of_the_table() {
    let mut decoder = Decoder::new(4096);
    let mut block = inserted(b"x-a", b"1");
    block.extend(inserted(b"x-b", b"2"));
    let limits = ListLimits {
        max_bytes: 40,
        ..ListLimits::default()
    };
    let mut list = FieldList::new(Section::Trailers, limits);
    decoder.decode(&block, true, &mut list).unwrap();
    list.end();
    assert_eq!(list.refused(), Some(Refusal::Bytes));
    assert_eq!((list.bytes(), list.count()), (72, 2));
    assert!(list.fields.is_empty());
    decoder.decode(&block, true, &mut Discard).unwrap();
    assert_eq!(
        decode(&mut decoder, &[0xbe, 0xbf]).unwrap(),
        ["x-b: 2", "x-a: 1"]
    );
}

/// The lines of a decoded list, as `name=value`.
fn listed(section: Section, limits: ListLimits, lines: &str) -> FieldList {
    let mut block = vec![];
    for line in lines.split_whitespace() {
        let (name, value) = line.rsplit_once('=').unwrap();
        block.extend(inserted(name.as_bytes(), value.as_bytes()));
    }
    let mut list = FieldList::new(section, limits);
    Decoder::new(4096).decode(&block, true, &mut list).unwrap();
    list.end();
    list
}

#[test]
fn lists_are_bounded_by_bytes_fields_and_crumbs() {
    let limits = ListLimits {
        max_bytes: 200,
        max_fields: 5,
        max_crumbs: 2,
    };
    let rows = [
        ("a=1 b=2 c=3 d=4 e=5", None),
        ("a=1 b=2 c=3 d=4 e=5 f=6", Some(Refusal::Bytes)),
        ("cookie=a cookie=b", None),
        ("cookie=a cookie=b cookie=c", Some(Refusal::Crumbs)),
    ];
    for (lines, refused) in rows {
        let list = listed(Section::Trailers, limits, lines);
        assert_eq!(list.refused(), refused, "{lines}");
        assert_eq!(list.fields.is_empty(), refused.is_some());
    }
    let wide = ListLimits {
        max_bytes: 1000,
        ..limits
    };
    let list = listed(Section::Trailers, wide, "a=1 b=2 c=3 d=4 e=5 f=6");
    assert_eq!(list.refused(), Some(Refusal::Fields));
    assert_eq!(list.count(), 6);
}

#[test]
fn lists_are_judged_by_the_section_they_are() {
    use Malformed::*;
    let get = ":method=GET :scheme=http :path=/";
    let rows = [
        (Section::Request, get.to_owned(), None),
        (Section::Request, format!("{get} :authority=a x=1"), None),
        (
            Section::Request,
            format!("{get} :path=/"),
            Some(RepeatedPseudo),
        ),
        (Section::Request, format!("x=1 {get}"), Some(LatePseudo)),
        (
            Section::Request,
            format!("{get} :status=200"),
            Some(MisplacedPseudo),
        ),
        (Section::Request, format!("{get} X=1"), Some(Name)),
        (
            Section::Request,
            ":method=GET".to_owned(),
            Some(MissingPseudo),
        ),
        (Section::Request, String::new(), Some(MissingPseudo)),
        (Section::Response, ":status=200 x=1".to_owned(), None),
        (Section::Response, "x=1".to_owned(), Some(MissingPseudo)),
        (Section::Response, ":status=101".to_owned(), Some(Status)),
        (Section::Trailers, "x=1".to_owned(), None),
        (
            Section::Trailers,
            ":status=200".to_owned(),
            Some(MisplacedPseudo),
        ),
        (
            Section::Trailers,
            "x=1 :status=200".to_owned(),
            Some(LatePseudo),
        ),
    ];
    for (section, lines, malformed) in rows {
        let list = listed(section, ListLimits::default(), &lines);
        assert_eq!(list.malformed(), malformed, "{lines}");
        if malformed.is_some() {
            assert!(list.fields.is_empty());
        }
    }
}

/// The values of a block share one allocation; table entries have their own.
#[test]
fn values_of_a_block_are_slices_of_one_buffer() {
    let mut decoder = Decoder::new(4096);
    let mut list = FieldList::new(Section::Trailers, ListLimits::default());
    let mut block = hex("0001 7803 616161 0001 7903 626262");
    block.extend(inserted(b"z", b"ccc"));
    decoder.decode(&block, true, &mut list).unwrap();
    let place = |name: &str| list.fields[name].as_bytes().as_ptr() as usize;
    assert_eq!(place("y") - place("x"), 3);
    let kept = Bytes::from_owner(list.fields["z"].clone());
    let mut again = FieldList::new(Section::Trailers, ListLimits::default());
    decoder.decode(&[0xbe], true, &mut again).unwrap();
    assert_eq!(again.fields["z"].as_bytes().as_ptr(), kept.as_ptr());
}
