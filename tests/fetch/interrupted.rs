//! Downloads that are killed, and simultaneous downloads.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use test_support::{Random, Reply, Server, counted, read_json, seed};

use crate::cases::{
    Case, checkpoint_of, dataset_of, files_below, in_torch, libtorch, libtorch_of, noise, sha256,
    weights, weights_of, zip,
};

/// The downloads with files that take a while to check and to unpack.
fn large() -> [Case; 4] {
    let content = noise(6_000_000);
    let archive = zip(&[("readme", b"hello"), ("SMSSpamCollection", &content)]);
    [
        libtorch_of(content.clone(), zip(&in_torch(&content))),
        weights_of(content.clone()),
        checkpoint_of(50_000),
        dataset_of(content, archive),
    ]
}

/// Files under their final names.
fn finished(case: &Case) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for folder in ["libtorch", "weights", "datasets"] {
        let files = files_below(&case.path(folder)).into_iter();
        all.extend(files.map(|(file, bytes)| (Path::new(folder).join(file), bytes)));
    }
    let is_work = |file: &Path| {
        let name = file.file_name().unwrap().to_string_lossy();
        // A file that is replaced atomically has another name until it is complete.
        let is_temporary = name.starts_with(".SHA256SUMS.") || name.starts_with(".fetched.json.");
        let is_collected = file.components().any(|part| part.as_os_str() == "fetch.part");
        name.ends_with(".part")
            || is_temporary
            || is_collected
            || name == ".lock"
            || name == "sms-spam-collection.zip"
    };
    all.retain(|file, _| !is_work(file));
    all
}

/// Asserts that every file under its final name is complete, and `libtorch/` as a whole.
#[track_caller]
fn assert_complete_files(case: &Case, whole: &BTreeMap<PathBuf, Vec<u8>>) {
    let there = finished(case);
    for (file, bytes) in &there {
        // The checksums of the other files, of which some may not be there yet.
        if file.ends_with("SHA256SUMS") {
            let text = String::from_utf8(bytes.clone()).unwrap();
            let all = String::from_utf8(whole[file].clone()).unwrap();
            let is_line = |line| all.lines().any(|other| other == line);
            assert!(text.ends_with('\n') && text.lines().all(is_line), "{text}");
        } else {
            assert!(whole.get(file) == Some(bytes), "{} is not complete", file.display());
        }
    }
    if case.result.starts_with("libtorch") && case.path("libtorch").exists() {
        assert!(there.keys().eq(whole.keys()), "{:?}", there.keys());
    }
}

/// Kills of each download with one seed.
const KILLS: usize = 8;

#[test]
#[ignore = "run by cargo xtask soak"]
fn killed_downloads_leave_no_incomplete_file_under_its_final_name() {
    let mut random = Random::new(seed());
    let mut all = 0;
    for mut case in large() {
        case.run().succeeded();
        let whole = finished(&case);
        clear(&case);
        // Downloads again although the file is there, so that everything is done each time.
        case.arguments.push("--force".to_owned());
        let start = Instant::now();
        case.run().succeeded();
        let time = start.elapsed();
        clear(&case);
        let mut killed = 0;
        for number in 0..10 * KILLS {
            // A little longer than it takes: files get their names at the end.
            let moment = time.mul_f64(1.1 * (1 + random.below(1000)) as f64 / 1000.0);
            let mut child = case.spawn();
            thread::sleep(moment);
            child.kill().unwrap();
            killed += usize::from(child.wait().unwrap().code().is_none());
            assert_complete_files(&case, &whole);
            if number % 3 == 2 {
                // From the beginning again instead of resuming.
                let _ = fs::remove_file(case.path(&case.part));
                let _ = fs::remove_dir_all(case.path("libtorch.partial"));
            }
            if killed == KILLS {
                break;
            }
        }
        assert_eq!(killed, KILLS, "the download was too fast to be killed");
        // The lock of a killed download is free.
        case.run().succeeded();
        case.is_complete();
        assert_complete_files(&case, &whole);
        assert!(finished(&case).keys().eq(whole.keys()));
        all += killed;
    }
    counted(all, "kills of downloads");
}

/// Empties the workspace of a case.
fn clear(case: &Case) {
    fs::remove_dir_all(case.root.path()).unwrap();
    fs::create_dir(case.root.path()).unwrap();
}

/// Starts downloads at this interval and returns the number that succeeded. The others must
/// report the lock.
#[track_caller]
fn together(commands: Vec<Command>, apart: Duration) -> usize {
    let started = commands.into_iter().map(|mut command| {
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(apart);
        child
    });
    let started: Vec<_> = started.collect();
    let ended = started.into_iter().map(|child| {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let is_right = output.status.success()
            || stderr.contains("another fetch is at work")
            // The test's archive does not contain the published file.
            || stderr.contains("SMSSpamCollection is not the published file");
        assert!(is_right, "{stderr}");
        output.status.success()
    });
    ended.filter(|&succeeded| succeeded).count()
}

#[test]
fn fetches_at_the_same_time_do_not_disturb_each_other() {
    for round in 0..8 {
        for case in Case::all() {
            let commands = (0..4).map(|_| case.command()).collect();
            // Together, and so far apart that one ends while another begins.
            assert!(together(commands, Duration::from_millis(round * 15)) > 0);
            case.is_complete();
            case.run();
            case.is_complete();
        }
    }
}

#[test]
fn different_fetches_at_the_same_time_do_not_disturb_each_other() {
    for round in 0..6 {
        // The same folder for both kinds of libtorch.
        let case = libtorch();
        let commands = ["cpu", "cuda", "cpu", "cuda"].map(|device| {
            let mut command = case.command();
            command.args(["--device", device]).env("CARGO", "true");
            command
        });
        assert!(together(commands.into(), Duration::from_millis(round * 20)) > 0);
        case.is_complete();
        let device = read_json(&case.path("libtorch/fetched.json"))["device"].clone();
        let has_cuda = case.path("libtorch/lib/libtorch_cuda.so").exists();
        assert_eq!(has_cuda, device == "cuda");
    }
    // One folder for each kind of weights: both are fetched.
    let case = weights();
    let content = case.content.clone();
    let hub = Server::start(move |request| {
        let sizes = if request.path.contains("medium") { (1024, 24, 16) } else { (1280, 36, 20) };
        let config = serde_json::json!({"n_embd": sizes.0, "n_layer": sizes.1, "n_head": sizes.2});
        match request.path.ends_with("config.json") {
            true => Reply::file(config.to_string().as_bytes(), request),
            false => Reply::file(&content, request).with("ETag", sha256(&content)),
        }
    });
    let commands = ["gpt2-medium", "gpt2-large"].map(|model| {
        let mut command = case.command();
        command.env("HF_ENDPOINT", hub.url(""));
        // In the place of the model of the case.
        let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
        let mut other = Command::new(command.get_program());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => other.env(name, value),
                None => other.env_remove(name),
            };
        }
        other.args(&arguments[..arguments.len() - 1]).arg(model);
        other
    });
    assert_eq!(together(commands.into(), Duration::ZERO), 2);
    for model in ["gpt2-medium", "gpt2-large"] {
        let weights = case.path(&format!("weights/{model}/model.safetensors"));
        assert!(fs::read(weights).unwrap() == case.content);
    }
}
