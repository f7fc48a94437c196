//! `cargo xtask fetch-dataset`: the SMS Spam Collection from the UCI archive.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use storage::{create_directory, rename};

use crate::{
    archive::Archive,
    net::{Client, Expected, Request, Sum, address, download, part_of},
    workspace::{Lock, show},
};

pub const HELP: &str = "\
The SMS Spam Collection v.1 (Almeida, Gómez Hidalgo, Yamakami, 2011), UCI dataset
228, is licensed under CC BY 4.0: https://archive.ics.uci.edu/dataset/228

Examples:
  cargo xtask fetch-dataset
  cargo xtask fetch-dataset --url https://mirror.example/sms+spam+collection.zip";

/// The archive and the file in it, as published.
const ARCHIVE_URL: &str = "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip";
const ARCHIVE_SHA256: &str = "1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3";
/// Maximum size of the archive and of its content, tens of times the real size.
const MOST: u64 = 16 << 20;
/// Destination of the file.
pub const COLLECTION: &str = "datasets/sms-spam/SMSSpamCollection";
const MEMBER: &str = "SMSSpamCollection";
const MEMBER_SHA256: &str = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d";

#[derive(Args, Clone, Debug, Default)]
pub struct FetchArgs {
    /// URL of the archive, on a mirror for example [default: the UCI archive]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// SHA-256 of the archive, if it differs from the published archive
    #[arg(long, value_name = "HEX", requires = "url", value_parser = sha256)]
    sha256: Option<String>,
    /// Fetch it again if it exists
    #[arg(long)]
    force: bool,
}

fn sha256(text: &str) -> Result<String, String> {
    match Sum::parse(text) {
        Some(Sum::Sha256(digits)) => Ok(digits),
        _ => Err("a SHA-256 has 64 hexadecimal digits".to_owned()),
    }
}

pub fn fetch(root: &Path, args: &FetchArgs) -> Result<()> {
    let to = root.join(COLLECTION);
    let folder = to.parent().unwrap_or(root);
    let shown = show(root, &to);
    if to.is_file() && !args.force {
        check_present(&to, &shown.to_string())?;
        say!("{shown} is there");
        return Ok(());
    }
    let url = address::parse(args.url.as_deref().unwrap_or(ARCHIVE_URL), "--url")?;
    create_directory(folder)?;
    let _lock = Lock::take(&folder.join(".lock"), "fetch")?;
    let archive = folder.join("sms-spam-collection.zip");
    let sum = Sum::parse(args.sha256.as_deref().unwrap_or(ARCHIVE_SHA256));
    let request = Request::get(url);
    let expected = Expected { size: None, sum, most: Some(MOST) };
    download(&Client::new(), &request, &expected, &archive).with_context(|| {
        format!(
            "the SMS Spam Collection cannot be fetched (`cargo xtask fetch-dataset` resumes; its --url \
             names a mirror, HTTPS_PROXY a proxy; or put the file at {shown} by hand)"
        )
    })?;
    let unpacked = unpack(&archive, &part_of(&to));
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    unpacked?;
    rename(&part_of(&to), &to)?;
    say!("{shown} is there");
    Ok(())
}

/// Refuses a file that is in place and not the published one.
fn check_present(to: &Path, shown: &str) -> Result<()> {
    let published = Expected { sum: Sum::parse(MEMBER_SHA256), ..Expected::default() };
    published.check(to).with_context(|| {
        format!("{shown} is not the published file; --force fetches that one in its place")
    })
}

/// Takes the one file that is wanted out of the archive.
fn unpack(archive: &Path, to: &Path) -> Result<()> {
    let mut archive = Archive::open(archive, MOST)?;
    let wanted = archive.entries.iter().find(|entry| entry.path == Path::new(MEMBER)).cloned();
    let wanted = wanted.ok_or_else(|| anyhow!("there is no {MEMBER} in the archive"))?;
    let unpacked = archive.unpack(&wanted, to, |_| {});
    if unpacked.is_err() {
        // The archive has been checked: what was written of it is of no use.
        let _ = fs::remove_file(to);
    }
    unpacked
}
