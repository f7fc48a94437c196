//! Bytes of a table: decompressed, decoded, and recognized by their beginning.

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use encoding_rs::{Decoder, DecoderResult, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use flate2::read::MultiGzDecoder;

use super::{
    lines::{Lines, without_mark},
    source::{Source, spool},
};
use crate::{
    error::{Error, Result},
    table::options::{Encoding, TableOptions},
};

/// Bytes that are looked at to recognize a file.
const HEAD: usize = 64 << 10;

type Stream = Box<dyn Read + Send>;

/// Opened table.
pub(crate) struct Input {
    pub name: PathBuf,
    /// The first bytes, which `rest` continues.
    pub head: Vec<u8>,
    rest: Stream,
    /// True if the head is the whole file.
    pub complete: bool,
    /// The regular file, if it is neither compressed nor decoded.
    file: Option<File>,
    /// Compression and encoding, for notes.
    pub layers: Vec<&'static str>,
    /// Malformed UTF-8 sequences that were replaced so far.
    pub replaced: Arc<AtomicUsize>,
}

impl Lines {
    /// As [`Lines::new`], of a stream that may be compressed (gzip, zstd) or in another
    /// encoding.
    ///
    /// # Errors
    /// [`Error::Storage`]; [`Error::Table`] for a stream that is not text.
    pub fn decoded(
        source: impl Read + Send + 'static,
        name: PathBuf,
        encoding: Option<Encoding>,
    ) -> Result<Self> {
        let options = TableOptions { encoding, ..TableOptions::default() };
        let input = Input::of_stream(Box::new(source), None, name, &options)?;
        if input.is_parquet() {
            let reason = "it is a Parquet file, not lines of text".to_owned();
            return Err(Error::Table { path: input.name, reason });
        }
        input.into_lines()
    }
}

impl Input {
    /// Opens a source, which may be compressed, and refuses other containers by name.
    pub fn open(source: &Source, options: &TableOptions) -> Result<Self> {
        let name = source.name().to_owned();
        let (rest, file) = source.open()?;
        Self::of_stream(rest, file, name, options)
    }

    /// As [`Input::open`], of a stream.
    pub fn of_stream(
        rest: Stream,
        file: Option<File>,
        name: PathBuf,
        options: &TableOptions,
    ) -> Result<Self> {
        let mut input = Self {
            name,
            head: Vec::new(),
            rest,
            complete: false,
            file,
            layers: Vec::new(),
            replaced: Arc::default(),
        };
        input.fill_head()?;
        if input.head.starts_with(b"\x1f\x8b") {
            input.wrap("gzip", |stream| Ok(Box::new(Gzip(MultiGzDecoder::new(stream)))))?;
        } else if input.head.starts_with(b"\x28\xb5\x2f\xfd") {
            input.wrap("zstd", |stream| Ok(Box::new(zstd::Decoder::new(stream)?)))?;
        }
        if let Some(reason) = refusal(&input.head) {
            return Err(Error::Table { path: input.name, reason: reason.to_owned() });
        }
        let unmarked = unmarked_utf16(&input.head);
        let encoding = input.encoding(options.encoding)?;
        let decoder = match encoding {
            Encoding::Utf16 => unmarked.unwrap_or(UTF_16LE).new_decoder(),
            Encoding::Latin1 => WINDOWS_1252.new_decoder_without_bom_handling(),
            Encoding::Utf8Lossy => UTF_8.new_decoder_without_bom_handling(),
            Encoding::Utf8 => return Ok(input),
        };
        if !input.is_parquet() {
            let replaced = (encoding == Encoding::Utf8Lossy).then(|| Arc::clone(&input.replaced));
            let layer = match encoding {
                Encoding::Utf16 if unmarked.is_some() => "UTF-16 without a byte order mark",
                Encoding::Utf16 => "UTF-16",
                encoding => encoding.name(),
            };
            input.wrap(layer, |stream| Ok(Box::new(Decoded::new(stream, decoder, replaced))))?;
        }
        Ok(input)
    }

    /// Returns the encoding, which the first bytes must not contradict if it is given.
    fn encoding(&self, given: Option<Encoding>) -> Result<Encoding> {
        let (found, sign) = match self.head.as_slice() {
            [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, "a byte order mark of UTF-8"),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => (Encoding::Utf16, "a byte order mark of UTF-16"),
            head if unmarked_utf16(head).is_some() => {
                (Encoding::Utf16, "characters of two bytes, as in UTF-16")
            }
            _ => return Ok(given.unwrap_or_default()),
        };
        match given {
            None => Ok(found),
            Some(Encoding::Utf8Lossy) if found == Encoding::Utf8 => Ok(Encoding::Utf8Lossy),
            Some(given) if given == found => Ok(given),
            Some(given) => Err(Error::Encoding { path: self.name.clone(), given, found, sign }),
        }
    }

    fn fill_head(&mut self) -> Result<()> {
        self.head.clear();
        let rest = &mut self.rest;
        rest.take(HEAD as u64)
            .read_to_end(&mut self.head)
            .map_err(storage::Error::read(&self.name))?;
        self.complete = self.head.len() < HEAD;
        Ok(())
    }

    /// Puts a decoder in front of the stream.
    fn wrap(
        &mut self,
        layer: &'static str,
        decode: impl FnOnce(Stream) -> io::Result<Stream>,
    ) -> Result<()> {
        let rest = std::mem::replace(&mut self.rest, Box::new(io::empty()));
        let stream = Box::new(Cursor::new(std::mem::take(&mut self.head)).chain(rest));
        self.rest = decode(stream).map_err(storage::Error::read(&self.name))?;
        self.layers.push(layer);
        self.file = None;
        self.fill_head()
    }

    pub fn is_parquet(&self) -> bool {
        self.head.starts_with(b"PAR1")
    }

    /// Returns the first characters that are not white space.
    pub fn beginning(&self) -> &[u8] {
        beginning(&self.head)
    }

    /// Refuses lines that end as on Macs before 2001: with `\r` alone.
    pub fn check_line_ends(&self) -> Result<()> {
        let mut lines = self.head.split(|byte| *byte == b'\r');
        if self.head.contains(&b'\n') || lines.nth(1).is_none_or(<[u8]>::is_empty) {
            return Ok(());
        }
        let reason = "its lines end with CR alone, as on old Macs; save it with line feeds, for \
                      example with `tr '\\r' '\\n'`";
        Err(Error::Table { path: self.name.clone(), reason: reason.to_owned() })
    }

    pub fn into_stream(self) -> Stream {
        Box::new(Cursor::new(self.head).chain(self.rest))
    }

    /// Returns the lines of text.
    pub fn into_lines(mut self) -> Result<Lines> {
        self.check_line_ends()?;
        let name = self.name.clone();
        let (layers, replaced) = (std::mem::take(&mut self.layers), Arc::clone(&self.replaced));
        let mut lines = Lines::new(self.into_stream(), name);
        (lines.layers, lines.replaced) = (layers, replaced);
        Ok(lines)
    }

    /// Returns a file whose parts can be read in any order: a pipe or a compressed file is
    /// copied to a temporary one.
    pub fn into_file(mut self) -> Result<File> {
        let name = self.name.clone();
        match self.file.take() {
            Some(mut file) => {
                file.rewind().map_err(storage::Error::read(&name))?;
                Ok(file)
            }
            None => spool(self.into_stream(), &name),
        }
    }
}

/// Returns the byte order of UTF-16 without a byte order mark that begins with two ASCII
/// characters. As UTF-8 they would be NUL bytes, which are refused.
fn unmarked_utf16(head: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    match head {
        [one, 0, other, 0, ..] if *one > 0 && *other > 0 => Some(UTF_16LE),
        [0, one, 0, other, ..] if *one > 0 && *other > 0 => Some(UTF_16BE),
        _ => None,
    }
}

/// Returns why a file with this beginning is not read, and what to do.
fn refusal(head: &[u8]) -> Option<&'static str> {
    const OFFICE: &[u8] = b"[Content_Types].xml";
    let has = |part: &[u8]| head.windows(part.len()).any(|window| window == part);
    let reason = match head {
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            "it is compressed twice; unpack it once (gunzip or unzstd)"
        }
        [b'P', b'K', 3, 4, ..] if has(OFFICE) || has(b"xl/") => {
            "it is a spreadsheet (xlsx); save it as CSV"
        }
        [b'P', b'K', 3, 4, ..] if has(b"opendocument") => {
            "it is a spreadsheet (OpenDocument); save it as CSV"
        }
        [b'P', b'K', 3 | 5, 4 | 6, ..] => {
            "it is a zip archive; unpack it (unzip) and give the table within"
        }
        [0xd0, 0xcf, 0x11, 0xe0, ..] => "it is a spreadsheet (xls); save it as CSV",
        _ if head.starts_with(b"ARROW1") || head.starts_with(b"FEA1") => {
            "it is an Arrow IPC file (Feather); save it as Parquet"
        }
        _ if head.starts_with(b"BZh") => "it is compressed by bzip2; unpack it (bunzip2)",
        _ if head.starts_with(b"\xfd7zXZ") => "it is compressed by xz; unpack it (unxz)",
        _ if head.starts_with(b"7z\xbc\xaf") => "it is a 7z archive; unpack it",
        _ if head.starts_with(b"SQLite format 3") => {
            "it is an SQLite database; export the table as CSV"
        }
        _ if head.starts_with(b"%PDF-") => "it is a PDF; a table is CSV, TSV, JSON or Parquet",
        _ if head.starts_with(b"ORC") && has(b"\0") => "it is an ORC file; save it as Parquet",
        _ if head.starts_with(b"Obj\x01") => "it is an Avro file; save it as Parquet",
        // Of POSIX and of GNU.
        _ if head
            .get(257..265)
            .is_some_and(|magic| magic.starts_with(b"ustar\0") || magic == b"ustar  \0") =>
        {
            "it is a tar archive; unpack it (tar -xf) and give the table within"
        }
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "it is text in UTF-32; save it as UTF-8",
        _ if is_html(head) => "it is an HTML document, not a table; download the file itself",
        _ => return None,
    };
    Some(reason)
}

/// Returns the bytes behind a byte order mark and white space.
fn beginning(head: &[u8]) -> &[u8] {
    without_mark(head).trim_ascii_start()
}

/// Returns whether a file begins as an HTML document, such as the page of an error that was
/// saved in place of a table.
fn is_html(head: &[u8]) -> bool {
    let head = beginning(head);
    let begins = |with: &[u8]| {
        head.get(..with.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(with))
            && head.get(with.len()).is_some_and(|next| *next == b'>' || next.is_ascii_whitespace())
    };
    begins(b"<!DOCTYPE html") || begins(b"<html")
}

/// Decoder of gzip files.
struct Gzip(MultiGzDecoder<Stream>);

impl Read for Gzip {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out).map_err(|error| {
            // The first header was there: this is what follows the compressed data.
            let is_behind = error.to_string() == "invalid gzip header";
            let reason = match error.kind() {
                _ if is_behind => "other bytes follow the compressed data (gzip)",
                io::ErrorKind::UnexpectedEof => {
                    "the compressed data (gzip) is incomplete, or a few other bytes follow it"
                }
                _ => return error,
            };
            let reason = format!("{reason}; unpack it with gunzip, check the table and give that");
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })
    }
}

/// Stream of bytes of another encoding as UTF-8.
struct Decoded {
    source: Stream,
    decoder: Decoder,
    /// Malformed sequences that were replaced, if that is wanted.
    replaced: Option<Arc<AtomicUsize>>,
    text: Cursor<String>,
    /// Bytes read so far.
    read: usize,
    ended: bool,
}

impl Decoded {
    fn new(source: Stream, decoder: Decoder, replaced: Option<Arc<AtomicUsize>>) -> Self {
        Self { source, decoder, replaced, text: Cursor::default(), read: 0, ended: false }
    }

    /// Decodes the next bytes.
    fn fill(&mut self) -> io::Result<()> {
        let mut raw = Vec::with_capacity(HEAD);
        let source = &mut self.source;
        self.ended = source.take(HEAD as u64).read_to_end(&mut raw)? < HEAD;
        let (mut text, mut used) = (String::new(), 0);
        loop {
            let rest = &raw[used..];
            let most = self.decoder.max_utf8_buffer_length_without_replacement(rest.len());
            text.reserve(most.unwrap_or(4 * HEAD));
            let (result, read) =
                self.decoder.decode_to_string_without_replacement(rest, &mut text, self.ended);
            used += read;
            match (result, &self.replaced) {
                (DecoderResult::InputEmpty, _) => break,
                (DecoderResult::OutputFull, _) => {}
                (DecoderResult::Malformed(..), Some(replaced)) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    replaced.fetch_add(1, Ordering::Relaxed);
                }
                (DecoderResult::Malformed(..), None) => {
                    let reason =
                        format!("the bytes before byte {} are not UTF-16", self.read + used);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                }
            }
        }
        self.read += raw.len();
        self.text = Cursor::new(text);
        Ok(())
    }
}

impl Read for Decoded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.text.read(out)?;
            if count > 0 || out.is_empty() || self.ended {
                return Ok(count);
            }
            self.fill()?;
        }
    }
}
