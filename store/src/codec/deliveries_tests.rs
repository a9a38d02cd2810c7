//! Records of deliveries, of this version and of earlier ones.

use super::*;

fn event(route: &str, meant_for: Option<&str>) -> Delivery {
    Delivery::Event(EventDelivery {
        cluster: "prod".to_owned(),
        route: route.to_owned(),
        json: "{}".to_owned(),
        marks: Marks::default(),
        meant_for: meant_for.map(str::to_owned),
    })
}

fn unpacked(class: Class, packed: &Packed) -> Vec<Delivery> {
    let Packed {
        items,
        plain_bytes,
        payload,
    } = packed;
    unpack(class, *plain_bytes, payload, 0..*items).expect("whole")
}

#[test]
fn a_record_is_of_copies_that_were_meant_for_one_channel() {
    // A channel may be called like a cluster or a route.
    let all = vec![
        event("r", None),
        event("r", Some("prod")),
        event("", Some("prod")),
        event("", Some("r")),
        event("r", None),
    ];
    let records = repack(all.clone(), |marks| marks);
    assert_eq!(records.len(), 4);
    let read = |packed: &Packed| unpacked(Class::Copies, packed);
    assert_eq!(records.iter().flat_map(read).collect::<Vec<_>>(), all);
    let part = cut(Class::Copies, 4, &records[1].payload, 1..2).expect("whole");
    assert_eq!(unpacked(Class::Copies, &part), all[2..3]);
    let mut told = Vec::new();
    told_by(&records[1].payload, 0..2, |cluster, route| {
        told.push(format!("{cluster}/{route}"));
    })
    .expect("whole");
    assert_eq!(told, ["prod/r", "prod/"]);
}

#[test]
fn a_record_of_an_earlier_version_was_meant_for_no_other_channel() {
    // Names `prod` and `r`; one row of them, 2 bytes of text, replayed.
    let mut payload = b"\x02\x04prod\x01r\x01\x00\x01\x02\x00\x00\x00\x01".to_vec();
    compress(b"{}", &mut payload);
    let mut packed = Packed {
        items: 1,
        plain_bytes: 2,
        payload,
    };
    let mut expected = event("r", None);
    if let Delivery::Event(event) = &mut expected {
        event.marks.replayed = true;
    }
    for class in [Class::Copies, Class::Events] {
        assert_eq!(unpacked(class, &packed), [expected.clone()]);
    }
    let again = repack(vec![expected.clone()], |marks| marks);
    assert_eq!(again[0].payload, packed.payload, "it is written so still");
    // An earlier version reads a copy for a fallback as any other copy.
    packed.payload[0] = 3;
    packed.payload.splice(8..8, *b"\x03ops");
    if let Delivery::Event(event) = &mut expected {
        assert_eq!(
            unpacked(Class::Events, &packed),
            [Delivery::Event(event.clone())]
        );
        event.meant_for = Some("ops".to_owned());
    }
    assert_eq!(unpacked(Class::Copies, &packed), [expected]);
}
