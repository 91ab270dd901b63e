//! Structured fields (RFC 9651), as far as they are written.

/// The text as a string of a structured field, quotation marks included (RFC 9651 section 4.1.6). Letters that
/// no such string can hold, those beyond ASCII and control characters, are left out.
pub fn structured_string(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => string.extend(['\\', letter]),
            ' '..='~' => string.push(letter),
            _ => {}
        }
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_holds_what_it_can() {
        for (text, string) in [
            ("", "\"\""),
            ("edge 1", "\"edge 1\""),
            ("ed\"ge\r\n\\ 1é\u{7f}", "\"ed\\\"ge\\\\ 1\""),
        ] {
            assert_eq!(structured_string(text), string);
        }
    }
}
