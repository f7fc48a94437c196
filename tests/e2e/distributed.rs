//! Runs that are shared by several processes on loopback.

mod cuda;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use test_support::{
    Ranks, assert_same_results, counted, fixture, pocket, read_json, read_jsonl, seed, training,
    workspace,
};

/// Four micro-batches per step.
const FOUR: &str = "--batch-size 2 --gradient-accumulation-steps 4 --rank 2";

/// Options of a short run.
const SHORT: &str = "--threads 1 --steps 3 --eval-every 2 --eval-batches 2";

/// Options of a run on the tiny model that is long enough to be stopped.
const LONG: &str =
    "--threads 1 --lora-dropout 0.1 --epochs 30 --eval-every 20 --checkpoint-every 5";

fn words(options: &str) -> impl Iterator<Item = String> {
    options.split_whitespace().map(String::from)
}

fn arguments(model: &Path, data: &Path, out: &Path, options: &str) -> Vec<String> {
    let mut all = training(model, data, out);
    all.extend(words(FOUR).chain(words(options)));
    if !options.contains("--timeout") {
        // A deadlock fails the test after a minute.
        all.extend(words("--timeout 60"));
    }
    all
}

/// Arguments of a short run on the pocket model and the sample messages.
fn on_pocket(out: &Path, options: &str) -> Vec<String> {
    let data = workspace().join("datasets/sample/messages.tsv");
    arguments(&pocket(), &data, out, &format!("{SHORT} {options}"))
}

/// Arguments of a run on the tiny model.
fn on_tiny(out: &Path, options: &str) -> Vec<String> {
    arguments(&fixture("tiny"), &fixture("messages.tsv"), out, options)
}

/// Output directory of a rank: only rank 0 writes.
fn out_of(rank: usize, out: &Path) -> PathBuf {
    if rank == 0 { out.to_owned() } else { out.with_extension("other") }
}

/// Carries out a run with this number of processes.
fn trained(world: usize, out: &Path, arguments: impl Fn(&Path) -> Vec<String>) {
    let ranks = Ranks::start("trainer", world, |rank| arguments(&out_of(rank, out)));
    let ended = ranks.wait_for_all();
    for rank in &ended {
        assert!(rank.status.success(), "{}", rank.stderr);
    }
    for rank in &ended[1..] {
        assert_eq!(format!("{}{}", rank.stdout, rank.stderr), "", "only rank 0 prints");
    }
    assert!(!out_of(1, out).exists(), "only rank 0 writes");
}

/// Asserts that different numbers of processes write the same bytes.
fn assert_same_bytes(worlds: &[usize], arguments: impl Fn(&Path) -> Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let out = |world: usize| folder.path().join(world.to_string());
    trained(1, &out(1), &arguments);
    for &world in worlds {
        trained(world, &out(world), &arguments);
        assert_same_results(&out(1), &out(world));
    }
    let losses = read_jsonl(&out(1).join("metrics.jsonl"));
    assert!(losses.iter().filter(|event| event["event"] == "step").count() >= 3);
}

#[test]
fn any_number_of_processes_writes_the_same_bytes() {
    assert_same_bytes(&[2, 4], |out| on_pocket(out, ""));
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn dropout_class_weights_and_clipping_do_not_depend_on_the_processes() {
    let options = "--lora-dropout 0.1 --class-weights spam=2,ham=0.5 --max-grad-norm 0.5 \
                   --keep best --arithmetic fused";
    assert_same_bytes(&[2, 4], |out| on_pocket(out, options));
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn padding_and_trained_base_weights_do_not_depend_on_the_processes() {
    let options = "--pad-to longest --train last-block --early-stopping 1 --epochs 2 --threads 1 \
                   --eval-batches 2";
    assert_same_bytes(&[2, 4], |out| {
        let mut all = on_tiny(out, options);
        // Rank is an option of adapters.
        let rank = all.iter().position(|word| word == "--rank").unwrap();
        all.drain(rank..rank + 2);
        all
    });
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn language_models_do_not_depend_on_the_processes() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.txt");
    let sample = fs::read_to_string(workspace().join("datasets/sample/messages.tsv")).unwrap();
    fs::write(&text, sample.lines().take(20).collect::<Vec<_>>().join("\n\n")).unwrap();
    let options = "--task language-model --max-length 16 --lora-dropout 0.1";
    assert_same_bytes(&[2, 4], |out| {
        arguments(&pocket(), &text, out, &format!("{SHORT} {options}"))
    });
    let examples = fixture("completions/train.jsonl");
    let options = "--task language-model --lora-dropout 0.1";
    assert_same_bytes(&[2, 4], |out| {
        arguments(&pocket(), &examples, out, &format!("{SHORT} {options}"))
    });
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn eight_processes_write_the_same_bytes() {
    let options = "--threads 1 --steps 40 --batch-size 1 --gradient-accumulation-steps 8 --rank 2 \
                   --lora-dropout 0.1 --class-weights spam=2,ham=0.5 --max-grad-norm 0.5";
    let data = workspace().join("datasets/sample/messages.tsv");
    for arithmetic in ["kernels", "fused"] {
        let options = format!("{options} --seed {} --arithmetic {arithmetic}", seed() % 1000);
        assert_same_bytes(&[2, 4, 8], |out| {
            let mut all = training(&pocket(), &data, out);
            all.extend(words(&options));
            all
        });
        counted(3, "runs of several processes");
    }
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn ring_has_the_losses_of_the_tree() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |order: &str, world: usize| {
        let out = folder.path().join(order);
        trained(world, &out, |out| on_pocket(out, &format!("--reduce {order}")));
        let events = read_jsonl(&out.join("metrics.jsonl"));
        let losses = events.iter().filter_map(|event| event["loss"].as_f64());
        losses.collect::<Vec<_>>()
    };
    let (tree, ring) = (losses("tree", 1), losses("ring", 4));
    assert_eq!((tree.len(), ring.len()), (3, 3));
    for (tree, ring) in tree.iter().zip(&ring) {
        assert!((tree - ring).abs() < 1e-5 * tree, "{tree} and {ring}");
    }
}

/// Number of steps in the events of a run.
fn steps(out: &Path) -> usize {
    let events = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    events.matches("\"event\":\"step\"").count()
}

#[track_caller]
fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a run of several processes and waits until it takes steps.
fn started(world: usize, out: &Path, options: &str) -> Ranks {
    let before = steps(out);
    let mut ranks = Ranks::start("trainer", world, |rank| {
        on_tiny(&out_of(rank, out), &format!("{LONG} {options}"))
    });
    wait_until("the run takes steps", || {
        assert!(!ranks.has_ended(0), "it ended early");
        steps(out) > before.max(12)
    });
    ranks
}

#[test]
fn request_to_one_rank_stops_all_and_any_number_of_processes_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("stopped"));
    trained(1, &whole, |out| on_tiny(out, LONG));
    for (world, signaled, resume) in [(2, 1, ""), (4, 0, "--resume")] {
        let ranks = started(world, &out, resume);
        ranks.signal(signaled, "TERM");
        let ended = ranks.wait_for_all();
        let error = ended[0].error();
        assert!(error.contains("stopped after step"), "{error}");
        assert!(ended.iter().all(|rank| rank.error() == error), "{ended:?}");
        assert!(error.contains(&format!("step {} of", newest_checkpoint(&out))), "{error}");
    }
    trained(1, &out, |out| on_tiny(out, &format!("{LONG} --resume")));
    assert_same_results(&whole, &out);
    assert!(!out_of(1, &out).exists(), "only rank 0 reads and writes the directory");
}

fn newest_checkpoint(out: &Path) -> usize {
    let names = fs::read_dir(out.join("checkpoints")).unwrap();
    let step = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        name.strip_prefix("step-").unwrap().parse::<usize>().unwrap()
    };
    names.map(|entry| step(entry.unwrap().path())).max().unwrap()
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn survivors_of_a_killed_rank_exit_with_one_sentence() {
    let mut survivors = 0;
    for killed in [1, 0] {
        let folder = tempfile::tempdir().unwrap();
        let mut ranks = started(4, &folder.path().join("out"), "");
        ranks.signal(killed, "KILL");
        let start = Instant::now();
        for rank in (0..4).filter(|&rank| rank != killed) {
            let error = ranks.wait(rank).error().to_owned();
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
            assert!(error.starts_with(&format!("error: rank {rank}: ")), "{error}");
            assert!(error.contains("--resume continues"), "{error}");
            survivors += 1;
        }
    }
    counted(survivors, "survivors of a killed rank");
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn survivors_of_a_stopped_rank_exit_after_the_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let mut ranks = started(2, &folder.path().join("out"), "--timeout 3");
    ranks.signal(1, "STOP");
    let start = Instant::now();
    let error = ranks.wait(0).error().to_owned();
    let waited = start.elapsed();
    assert!((2..15).contains(&waited.as_secs()), "{waited:?}");
    assert!(error.contains("timed out after 3 s, waiting for rank 1"), "{error}");
    counted(1, "survivors of a stopped rank");
}

#[test]
fn ranks_that_differ_are_named_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.tsv");
    let data = fs::read_to_string(fixture("messages.tsv")).unwrap();
    fs::write(&other, data + "ham\tone more message\n").unwrap();
    for (what, option) in [
        ("--seed", "--seed 7"),
        ("--threads", "--threads 2"),
        ("--lr", "--lr 0.01"),
        ("--max-grad-norm", "--max-grad-norm 1"),
        ("--seeds", "--seeds 1,2"),
        ("dataset", ""),
    ] {
        let out = folder.path().join("out");
        let ranks = Ranks::start("trainer", 4, |rank| match (rank, option) {
            (1, "") => arguments(&fixture("tiny"), &other, &out, ""),
            (1, option) => on_tiny(&out, option),
            _ => on_tiny(&out, ""),
        });
        for ended in ranks.wait_for_all() {
            let expected = format!("error: {what}: rank 1 differs from the other ranks");
            assert!(ended.error().starts_with(&expected), "{}", ended.error());
        }
        assert_eq!(steps(&out), 0);
        assert!(!out.join("run.toml").exists(), "nothing is written");
    }
}

#[test]
fn batch_that_cannot_be_shared_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let ranks =
        Ranks::start("trainer", 2, |_| training(&fixture("tiny"), &fixture("messages.tsv"), &out));
    for ended in ranks.wait_for_all() {
        let expected = "1 micro-batch per step cannot be shared by 2 processes, expected 1 process";
        assert!(ended.error().contains(expected), "{}", ended.error());
        assert!(ended.error().contains("--gradient-accumulation-steps"), "{}", ended.error());
    }
    assert!(!out.exists(), "nothing is written");
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn seeds_are_shared_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let options = "--epochs 1 --seeds 1,2 --threads 1";
    trained(1, &one, |out| on_tiny(out, options));
    trained(2, &two, |out| on_tiny(out, options));
    for seed in [1, 2] {
        let name = format!("seed-{seed}");
        assert_same_results(&one.join(&name), &two.join(&name));
    }
    let before = read_json(&two.join("seeds.json"));
    trained(2, &two, |out| on_tiny(out, &format!("{options} --resume")));
    assert_eq!(read_json(&two.join("seeds.json")), before);
}
