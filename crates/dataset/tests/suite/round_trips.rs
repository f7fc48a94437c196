//! Tables of every dialect, encoding and container, read again.

use std::io::{Cursor, Write};

use dataset::{Encoding, TableOptions, TableReader};
use proptest::prelude::*;
use serde_json::json;

use crate::tables::{Rows, all};

/// Layout of a delimited file.
#[derive(Clone, Debug)]
struct Layout {
    separator: char,
    crlf: bool,
    mark: bool,
    encoding: Encoding,
    gzip: bool,
}

fn layout() -> impl Strategy<Value = Layout> {
    let separators = prop::sample::select(vec![',', ';', '|', '\t']);
    let encodings = prop::sample::select(vec![Encoding::Utf8, Encoding::Latin1, Encoding::Utf16]);
    (separators, any::<bool>(), any::<bool>(), encodings, any::<bool>()).prop_map(
        |(separator, crlf, mark, encoding, gzip)| Layout { separator, crlf, mark, encoding, gzip },
    )
}

fn rows() -> impl Strategy<Value = Vec<(String, String)>> {
    let text = prop_oneof!["[^\0]{0,20}", "[\",;|\r\n\t 'ax^]{0,12}"];
    let label = "[^\0]{1,6}".prop_filter("blank", |label| !label.trim().is_empty());
    prop::collection::vec((text, label), 1..12)
}

impl Layout {
    fn write(&self, rows: &[(String, String)]) -> Vec<u8> {
        let end = if self.crlf { "\r\n" } else { "\n" };
        let cell = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut file = String::new();
        if self.mark && self.encoding != Encoding::Latin1 {
            file.push('\u{feff}');
        }
        file += &format!("id{0}text{0}label{end}", self.separator);
        for (id, (text, label)) in rows.iter().enumerate() {
            file += &format!("{id}{1}{0}{1}{2}{end}", cell(text), self.separator, cell(label));
        }
        let bytes: Vec<u8> = match self.encoding {
            Encoding::Latin1 => file.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect(),
            Encoding::Utf16 => file.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            _ => file.into_bytes(),
        };
        if !self.gzip {
            return bytes;
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    }
}

fn read(bytes: Vec<u8>, name: &str, options: &TableOptions) -> Rows {
    let reader = TableReader::from_reader(Cursor::new(bytes), name, options, true).unwrap();
    all(reader, 5).unwrap()
}

fn expected(rows: &[(String, String)]) -> Rows {
    rows.iter().map(|(text, label)| (text.clone(), Some(label.clone()))).collect()
}

proptest! {
    #[test]
    fn every_dialect_and_encoding_round_trips(layout in layout(), rows in rows()) {
        let mut rows = rows;
        if layout.encoding == Encoding::Latin1 {
            // Without the characters that Windows-1252 has in other places.
            let latin = |c: char| if matches!(c, '\u{80}'..='\u{9f}' | '\u{100}'..) { '?' } else { c };
            for (text, label) in &mut rows {
                *text = text.chars().map(latin).collect();
                *label = label.chars().map(latin).collect();
            }
        }
        let mut options = TableOptions { encoding: Some(layout.encoding), ..TableOptions::default() };
        let bytes = layout.write(&rows);
        prop_assert_eq!(read(bytes.clone(), "a.csv", &options), expected(&rows));
        // As if nothing were detected.
        options.separator = Some(layout.separator.to_string().parse().unwrap());
        options.quote_char = Some("\"".parse().unwrap());
        prop_assert_eq!(read(bytes, "a", &options), expected(&rows));
    }

    #[test]
    fn json_arrays_round_trip(rows in rows(), pretty: bool, marked: bool) {
        let objects: Vec<_> = rows
            .iter()
            .map(|(text, label)| json!({"text": text, "label": label, "more": [{"a": "]}"}, 1.5]}))
            .collect();
        let json = if pretty {
            serde_json::to_vec_pretty(&objects).unwrap()
        } else {
            serde_json::to_vec(&objects).unwrap()
        };
        let mark = if marked { &b"\xef\xbb\xbf"[..] } else { b"" };
        let bytes = [mark, &json].concat();
        prop_assert_eq!(read(bytes, "a", &TableOptions::default()), expected(&rows));
    }
}
