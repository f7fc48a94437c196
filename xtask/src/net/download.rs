//! A file from a server, whole and checked, or not there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use ureq::http::StatusCode;

use super::{
    checksum::Expected,
    client::{Client, Request, Response, header},
    progress::Progress,
    retry::{Failure, retry},
};

/// The name of a file that is not whole yet. It stays after an interruption, for
/// the next fetch to go on from.
pub fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Fetches a file to `to`, going on from where an earlier fetch was cut off.
/// Under its own name the file is whole and what was expected.
///
/// The caller keeps other fetches of the same file out.
pub fn download(client: &Client, request: &Request, expected: &Expected, to: &Path) -> Result<()> {
    let part = part_of(to);
    let resumed = length(&part)? > 0;
    let first = transfer(client, request, expected, to);
    match first {
        Err(Wrong::File(error)) if resumed => {
            // The bytes of the earlier fetch may be of another file.
            eprintln!("{error:#}; starting afresh");
            transfer(client, request, expected, to)
        }
        other => other,
    }
    .map_err(|wrong| match wrong {
        Wrong::File(error) => {
            error.context(format!("what {} sends is not the published file", request.url))
        }
        Wrong::Other(error) => error,
    })
}

enum Wrong {
    /// Another file came than the one that was expected.
    File(anyhow::Error),
    Other(anyhow::Error),
}

fn transfer(
    client: &Client,
    request: &Request,
    expected: &Expected,
    to: &Path,
) -> Result<(), Wrong> {
    let part = part_of(to);
    retry(|| attempt(client, request, expected, &part)).map_err(Wrong::Other)?;
    if let Err(error) = expected.check(&part) {
        fs::remove_file(&part)
            .with_context(|| format!("cannot remove {}", part.display()))
            .map_err(Wrong::Other)?;
        return Err(Wrong::File(error));
    }
    fs::rename(&part, to)
        .with_context(|| format!("cannot rename {} to {}", part.display(), to.display()))
        .map_err(Wrong::Other)
}

/// Fetches what is missing in `part`.
fn attempt(
    client: &Client,
    request: &Request,
    expected: &Expected,
    part: &Path,
) -> Result<(), Failure> {
    let mut start = length(part)?;
    if expected.size.is_some_and(|size| start > size) {
        start = 0;
    }
    if expected.size == Some(start) && start > 0 {
        return Ok(());
    }
    let mut request = request.clone();
    if start > 0 {
        request.headers.push(("Range", format!("bytes={start}-")));
    }
    let mut response = client.send_once(&request)?;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        // Nothing comes after what is here: it is whole, as the checksum will
        // tell, or of another file.
        if expected.sum.is_some() && expected.size.is_none() {
            return Ok(());
        }
        File::create(part).map_err(cannot_write(part))?;
        let error = anyhow!("{} has no byte {start}", request.url);
        return Err(Failure::Passing { error, wait: Some(Duration::ZERO), progress: false });
    }
    if response.status() != StatusCode::PARTIAL_CONTENT || !continues_at(&response, start) {
        start = 0;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(part)
        .map_err(cannot_write(part))?;
    file.set_len(start).map_err(cannot_write(part))?;
    io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(cannot_write(part))?;

    let length = header(&response, "Content-Length").and_then(|value| value.parse::<u64>().ok());
    let total = expected.size.or(length.map(|length| start + length));
    let name = part.file_stem().unwrap_or_default().to_string_lossy();
    let mut progress = Progress::new(&format!("fetching {name}"), start, total);
    let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0;
    let cut = |error: io::Error, received: u64| {
        let error = anyhow!(error).context(format!("the connection to {} was cut", request.url));
        Failure::Passing { error, wait: None, progress: received > 0 }
    };
    loop {
        let count = reader.read(&mut buffer).map_err(|error| cut(error, received))?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).map_err(cannot_write(part))?;
        received += count as u64;
        progress.add(count as u64);
    }
    file.sync_all().map_err(cannot_write(part))?;
    match length {
        Some(length) if received < length => {
            Err(cut(io::ErrorKind::UnexpectedEof.into(), received))
        }
        _ => Ok(()),
    }
}

fn cannot_write(path: &Path) -> impl Fn(io::Error) -> anyhow::Error {
    move |error| anyhow!(error).context(format!("cannot write {}", path.display()))
}

/// Whether an answer begins at the byte that was asked for.
fn continues_at(response: &Response, start: u64) -> bool {
    let range = header(response, "Content-Range").unwrap_or_default();
    let first = range.strip_prefix("bytes ").and_then(|range| range.split('-').next());
    first.and_then(|first| first.trim().parse().ok()) == Some(start)
}

/// Bytes of a file; 0 if it is not there.
fn length(path: &Path) -> Result<u64> {
    match File::open(path).and_then(|file| file.metadata()) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
