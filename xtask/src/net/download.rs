//! Downloads, complete and verified or absent.

use std::{
    cell::Cell,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use storage::rename;

use ureq::http::StatusCode;

use super::{
    checksum::Expected,
    client::{Client, Request, Response, header},
    progress::Progress,
    retry::{Failure, retry},
};

/// Name of an incomplete file. It stays after an interruption, and the next fetch resumes it.
pub fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Fetches a file to `to` and resumes an earlier fetch. Under its final name the file is
/// complete and has the expected checksum.
///
/// The caller keeps other fetches of the same file out.
pub fn download(client: &Client, request: &Request, expected: &Expected, to: &Path) -> Result<()> {
    let part = fetch_part(client, request, expected, to)?;
    Ok(rename(&part, to)?)
}

/// The same, but leaves the file under the name of an unfinished one, which is
/// returned, for the caller to look at what no checksum is known of.
pub fn fetch_part(
    client: &Client,
    request: &Request,
    expected: &Expected,
    to: &Path,
) -> Result<PathBuf> {
    let part = part_of(to);
    let resumed = length(&part)? > 0;
    let first = transfer(client, request, expected, &part);
    match first {
        Err(Wrong::File(error)) if resumed => {
            // The bytes of the earlier fetch may be of another file.
            say!("{error:#}; starting afresh");
            transfer(client, request, expected, &part)
        }
        other => other,
    }
    .map_err(|wrong| match wrong {
        Wrong::File(error) => {
            error.context(format!("what {} sends is not the published file", request.shown()))
        }
        Wrong::Other(error) => error,
    })?;
    Ok(part)
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
    part: &Path,
) -> Result<(), Wrong> {
    // Bytes that the file has had. A server that is cut at the same place again and
    // again makes no progress.
    let furthest = Cell::new(0);
    retry(|| attempt(client, request, expected, part, &furthest)).map_err(Wrong::Other)?;
    if let Err(error) = expected.check(part) {
        fs::remove_file(part)
            .with_context(|| format!("cannot remove {}", part.display()))
            .map_err(Wrong::Other)?;
        return Err(Wrong::File(error));
    }
    Ok(())
}

/// Fetches the bytes that are missing in `part`.
fn attempt(
    client: &Client,
    request: &Request,
    expected: &Expected,
    part: &Path,
    furthest: &Cell<u64>,
) -> Result<(), Failure> {
    let mut start = length(part)?;
    // Without a checksum nobody would know that two halves are of different files.
    if start > expected.limit() || expected.sum.is_none() {
        start = 0;
    }
    if expected.size == Some(start) && start > 0 {
        return Ok(());
    }
    let mut ranged = request.clone();
    if start > 0 {
        ranged.headers.push(("Range", format!("bytes={start}-")));
    }
    let response = client.send_once(&ranged)?;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        // Nothing comes after the bytes that are here: the checksum will tell whether
        // they are the file.
        if start > 0 {
            return Ok(());
        }
        return Err(anyhow!("{} has no first byte", request.shown()).into());
    }
    if let Some(coding) = header(&response, "Content-Encoding").filter(|it| *it != "identity") {
        // It was not requested, and its bytes differ from the file's.
        return Err(anyhow!("{} sends the file packed ({coding})", request.shown()).into());
    }
    if response.status() != StatusCode::PARTIAL_CONTENT || !continues_at(&response, start) {
        start = 0;
    }
    receive(response, start, request, expected, part, furthest)
}

/// Writes the body of a response to `part`, from the byte `start` on.
fn receive(
    mut response: Response,
    start: u64,
    request: &Request,
    expected: &Expected,
    part: &Path,
    furthest: &Cell<u64>,
) -> Result<(), Failure> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(part)
        .map_err(cannot_write(part))?;
    file.set_len(start).map_err(cannot_write(part))?;
    io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(cannot_write(part))?;

    let length = header(&response, "Content-Length").and_then(|value| value.parse::<u64>().ok());
    // Where the server does not say how much comes, what is known of the file does.
    let length = length.or(expected.size.map(|size| size.saturating_sub(start)));
    let total = expected.size.or(length.map(|length| start + length));
    let name = part.file_stem().unwrap_or_default().to_string_lossy();
    let mut progress = Progress::new(&format!("fetching {name}"), start, total);
    // One byte more than there may be, to see that there is more.
    let limit = (expected.limit() - start).saturating_add(1);
    let mut reader = response.body_mut().with_config().limit(u64::MAX).reader().take(limit);
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0;
    let cut = |error: io::Error, received: u64| {
        let error =
            anyhow!(error).context(format!("the connection to {} was cut", request.shown()));
        let progress = start + received > furthest.get();
        furthest.set(furthest.get().max(start + received));
        Failure::Passing { error, wait: None, progress }
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
    if received == limit {
        drop(file);
        fs::remove_file(part).map_err(cannot_write(part))?;
        let most = expected.limit();
        return Err(anyhow!("{} sends more than {most} bytes", request.shown())
            .context("that is not the published file")
            .into());
    }
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

/// Returns whether a response begins at the requested byte.
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
