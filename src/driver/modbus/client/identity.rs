//! Read device identification (Modbus Application Protocol 1.1b3 §6.21). Pure.

/// Encapsulated interface transport.
pub const FUNCTION: u8 = 43;
/// The MEI type of device identification.
pub const MEI_TYPE: u8 = 14;
/// Function, MEI type, access, conformity, whether more follows, the next object, the number of objects.
const HEADER: usize = 7;

/// Some objects of an identification, and where the next begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Object ids and their bytes.
    pub objects: Vec<(u8, Vec<u8>)>,
    /// The object to ask for next.
    pub next: Option<u8>,
}

/// Bytes of the page that begins with `pdu`; `None` while that can't be told, and for ever when it is longer than a PDU may be.
pub fn page_len(pdu: &[u8]) -> Option<usize> {
    let mut len = HEADER;
    for _ in 0..*pdu.get(HEADER - 1)? {
        len += 2 + usize::from(*pdu.get(len + 1)?);
    }
    Some(len)
}

/// Understands a page; `None` when it is none.
pub fn page(pdu: &[u8]) -> Option<Page> {
    let [FUNCTION, MEI_TYPE, _, _, more, next, _, ..] = *pdu else { return None };
    if page_len(pdu)? != pdu.len() {
        return None;
    }
    let mut objects = Vec::new();
    let mut rest = &pdu[HEADER..];
    while let [id, len, tail @ ..] = rest {
        let (bytes, after) = tail.split_at_checked(usize::from(*len))?;
        objects.push((*id, bytes.to_vec()));
        rest = after;
    }
    Some(Page { objects, next: (more == 0xFF).then_some(next) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of §6.21.
    fn example() -> Vec<u8> {
        let objects = [(0, &b"Company identification"[..]), (1, b"Product code XX"), (2, b"V2.11")];
        let objects = objects.iter().flat_map(|(id, text)| [&[*id, text.len() as u8], *text].concat());
        [FUNCTION, MEI_TYPE, 1, 1, 0, 0, 3].into_iter().chain(objects).collect()
    }

    #[test]
    fn the_example_of_the_specification_is_understood() {
        let Some(page) = page(&example()) else { panic!("a page") };
        assert_eq!(page.next, None);
        assert_eq!(page.objects[2], (2, b"V2.11".to_vec()));
        let mut more = example();
        (more[4], more[5]) = (0xFF, 2);
        assert_eq!(super::page(&more).and_then(|page| page.next), Some(2));
    }

    #[test]
    fn a_page_is_as_long_as_its_objects_say() {
        let whole = example();
        assert_eq!(page_len(&whole), Some(whole.len()));
        assert_eq!(page_len(&whole[..whole.len() - 6]), None);
        assert_eq!(page(&whole[..whole.len() - 1]), None);
        assert_eq!(page(&[&whole[..], &[0]].concat()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_page_or_none(pdu in prop::collection::vec(any::<u8>(), 0..260)) {
            if let Some(page) = page(&pdu) {
                prop_assert_eq!(page.objects.len(), usize::from(pdu[6]));
            }
        }
    }
}
