//! The header `Date` by a clock that is wrong.
//!
//! hyper writes the true date behind all other headers, and a handler's own would come before some of them. So the bytes
//! of the date are replaced where they are; every date has the same length.

const DATE: &[u8] = b"\r\ndate: ";
const END: &[u8] = b"\r\n\r\n";

/// `answer`, which begins with a head or a part of it, with another `date`; none where the head has no such header.
pub(super) fn replaced(answer: &[u8], date: &str) -> Option<Vec<u8>> {
    let head = position(answer, END).map_or(answer, |end| &answer[..end]);
    let from = position(head, DATE)? + DATE.len();
    let to = from + date.len();
    let is_whole = head.len() == to || head.get(to..to + 2) == Some(b"\r\n");
    is_whole.then(|| [&answer[..from], date.as_bytes(), &answer[to..]].concat())
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|some| some == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const WRONG: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    #[test]
    fn the_date_of_a_head_is_another_and_nothing_else_is() {
        for rest in [
            "\r\n\r\n{}",
            "\r\nconnection: close\r\n\r\n",
            "\r\n\r\n\r\ndate: x",
        ] {
            let answer =
                |date: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ndate: {date}{rest}");
            let other = replaced(answer(TRUE).as_bytes(), WRONG);
            assert_eq!(other, Some(answer(WRONG).into_bytes()));
        }
    }

    #[test]
    fn a_body_stays_as_it_is() {
        for text in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "",
            "HTTP/1.1 200 OK\r\ndate: soon\r\n\r\n",
            &format!("HTTP/1.1 200 OK\r\n\r\n\r\ndate: {TRUE}\r\n"),
        ] {
            assert_eq!(replaced(text.as_bytes(), WRONG), None, "{text}");
        }
    }
}
