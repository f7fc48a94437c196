//! Tests of the layers of settings and of resolved runs.

use std::fs;

use clap::{CommandFactory, Parser};
use lora::Scaling;
use serde_json::json;

use super::*;
use crate::config::{
    error::EntryError,
    layers::{MODEL_DEFAULTS_FILE, RESOLVED_FILE},
    options::{PretrainArgs, TrainArgs},
};
use crate::{
    task::kind::TaskKind,
    trainable::parameters::{Head, Train, WeightDecayOn},
    training::schedule::Decay,
};

#[derive(Parser)]
enum Program {
    Train(Box<TrainArgs>),
    Pretrain(Box<PretrainArgs>),
}

fn parse(command: &str, options: &str) -> TrainArgs {
    let all = ["program", command].into_iter().chain(options.split_whitespace());
    match Program::try_parse_from(all).unwrap() {
        Program::Train(args) => *args,
        Program::Pretrain(args) => args.0,
    }
}

fn resolve_as(command: &str, options: &str) -> Result<ResolvedRun> {
    let mut args = parse(command, options);
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let out = tempfile::tempdir().unwrap().keep();
    args.settings = args
        .settings
        .with("random-init", true)
        .with("data", json!([data]))
        .with("out", out.display().to_string());
    args.resolve()
}

fn resolve(options: &str) -> Result<ResolvedRun> {
    resolve_as("train", options)
}

/// Error of settings that are refused.
fn refused(options: &str) -> SettingsError {
    match resolve(options).unwrap_err() {
        Error::Settings(error) => error,
        error => panic!("{options}: {error}"),
    }
}

fn settings(options: &str) -> Settings {
    resolve(options).unwrap().settings
}

#[test]
fn book_recipe_sets_pooling_padding_and_arithmetic() {
    let (book, default) = (resolve("--recipe book").unwrap(), resolve("").unwrap());
    let pooling = |run: &ResolvedRun| {
        let training = &run.settings.training;
        (training.pooling, training.pad_to.unwrap())
    };
    assert_eq!(pooling(&book), (Pooling::LastPosition, PadTo::MaxLength));
    assert_eq!(pooling(&default), (Pooling::LastToken, PadTo::None));
    assert_eq!((book.lora.rank, book.lora.factor()), (16, 16.0));
    let training = &book.settings.training;
    assert_eq!((training.lr, training.weight_decay), (5e-5, 0.1));
    assert_eq!(default.lora, book.lora);
    let arithmetic = [&book, &default].map(|run| run.settings.machine.arithmetic);
    assert_eq!(arithmetic, [Some(Arithmetic::Stepwise), None]);
    let quotes = [&book, &default].map(|run| run.settings.data.quotes);
    assert_eq!(quotes, [dataset::Quotes::Strip, dataset::Quotes::Keep]);
}

#[test]
fn options_override_the_recipe() {
    let options = "--recipe book --rank 4 --alpha 8 --scaling rslora --target-modules q,v \
                   --lr 0.1 --epochs 2 --pooling last-token --seed 7";
    let run = resolve(options).unwrap();
    assert_eq!((run.lora.rank, run.lora.factor()), (4, 4.0));
    assert_eq!(run.lora.targets, ["q", "v"].map(String::from).into_iter().collect());
    let Settings { training, data, .. } = run.settings;
    assert_eq!((training.lr, training.epochs, data.split_seed), (0.1, 2.0, Some(7)));
    assert_eq!(training.pad_to, Some(PadTo::MaxLength));
    assert_eq!(settings("--seed 7 --split-seed 9").data.split_seed, Some(9));
    // Pooling at the last position requires sequences of one length.
    let padding = |options: &str| settings(options).training.pad_to.unwrap();
    assert_eq!(padding("--pooling last-position"), PadTo::MaxLength);
    assert_eq!(padding("--arithmetic stepwise"), PadTo::Longest);
    assert_eq!(padding("--pad-to max-length"), PadTo::MaxLength);
}

#[test]
fn model_defaults_override_the_recipe_and_yield_to_options() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.json"), "{}").unwrap();
    let file = directory.path().join(MODEL_DEFAULTS_FILE);
    fs::write(&file, r#"{"lr": 0.5, "rank": 3, "epochs": 9, "scaling": "rslora"}"#).unwrap();
    let model = format!("--model {}", directory.path().display());
    let run = resolve(&format!("{model} --epochs 1")).unwrap();
    assert_eq!(run.model_defaults, Some(file.clone()));
    let training = &run.settings.training;
    assert_eq!((training.lr, run.lora.rank, training.epochs), (0.5, 3, 1.0));
    assert_eq!((run.lora.alpha, run.lora.scaling), (16.0, Scaling::RsLora));
    let book = resolve(&format!("{model} --recipe book")).unwrap();
    let training = &book.settings.training;
    assert_eq!((training.lr, book.lora.rank, training.epochs), (5e-5, 16, 5.0));
    for (text, name) in [
        (r#"{"learning_rate": 0.001}"#, "learning_rate"),
        (r#"{"lr": "fast"}"#, "lr"),
        (r#"{"out": "elsewhere"}"#, "out"),
    ] {
        fs::write(&file, text).unwrap();
        match refused(&model) {
            SettingsError::ModelDefaults {
                path,
                problem: EntryError::Unknown { option } | EntryError::Invalid { option, .. },
            } => assert_eq!((path, option.as_str()), (file.clone(), name)),
            error => panic!("{error}"),
        }
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (options, name) in [
        ("--epochs 0", "epochs"),
        ("--batch-size 0", "batch-size"),
        ("--lr nan", "lr"),
        ("--max-length 0", "max-length"),
        ("--threads 0", "threads"),
        ("--steps 0", "steps"),
        ("--schedule linear --min-lr-ratio 2", "min-lr-ratio"),
        ("--task language-model --validation-fraction 0", "validation-fraction"),
        ("--beta2 1", "beta2"),
        ("--gradient-accumulation-steps 0", "gradient-accumulation-steps"),
        ("--max-grad-norm 0", "max-grad-norm"),
        ("--lora-plus-ratio 0", "lora-plus-ratio"),
        ("--early-stopping 0", "early-stopping"),
    ] {
        match refused(options) {
            SettingsError::OutOfRange { option, .. } => assert_eq!(option, name),
            error => panic!("{options}: {error}"),
        }
    }
}

#[test]
fn settings_without_effect_are_refused() {
    for (options, name, needs) in [
        ("--min-lr-ratio 0.5", "min-lr-ratio", "--schedule"),
        ("--save-dtype bfloat16", "save-dtype", "--train"),
        ("--sample-every 5", "sample-every", "--task language-model"),
        ("--task language-model --stratify", "stratify", "--task classify"),
        ("--task language-model --sample-prompt a", "sample-prompt", "--sample-every"),
        ("--task language-model --encoding latin-1", "encoding", "data in JSONL"),
        ("--task language-model --format csv --documents files", "documents", "plain text"),
        ("--train all --rank 4", "rank", "--train lora"),
    ] {
        match refused(options) {
            SettingsError::NoEffect { option, requires } => {
                assert_eq!(option, name);
                assert!(requires.contains(needs), "{options}: {requires}");
            }
            error => panic!("{options}: {error}"),
        }
    }
}

#[test]
fn conflicting_settings_are_refused() {
    for (options, conflict) in [
        ("--pooling last-position --pad-to longest", Conflict::PoolingPadding),
        ("--arithmetic stepwise --pad-to none", Conflict::StepwiseWithoutPadding),
        ("--task language-model --arithmetic stepwise", Conflict::StepwiseLanguageModel),
        ("--task language-model --recipe book", Conflict::StepwiseLanguageModel),
        ("--recipe book --dtype bfloat16", Conflict::StepwiseDType),
        ("--recipe book --gradient-checkpointing", Conflict::CheckpointingPadding),
        ("--lora-dropout 0.1 --gradient-checkpointing", Conflict::CheckpointingDropout),
        ("--arithmetic kernels --task language-model --train head", Conflict::KernelsLanguageModel),
        ("--arithmetic kernels --train all", Conflict::KernelsTrain),
        ("--arithmetic kernels --train head --dtype bfloat16", Conflict::KernelsMixedPrecision),
        ("--arithmetic kernels --dora", Conflict::KernelsDora),
        ("--arithmetic kernels --pad-to longest", Conflict::KernelsPadding),
        ("--arithmetic kernels --gradient-checkpointing", Conflict::KernelsCheckpointing),
        ("--arithmetic kernels --dtype float16", Conflict::KernelsDType),
        ("--validation-data Cargo.toml", Conflict::ValidationWithoutTest),
        ("--init pissa --dtype bfloat16", Conflict::PissaDType),
    ] {
        assert_eq!(refused(options), SettingsError::Conflict(conflict), "{options}");
    }
    assert_eq!(refused("--seeds 5"), SettingsError::TooFewSeeds { seeds: vec![5] });
    assert_eq!(refused("--seeds 5,5"), SettingsError::RepeatedSeed { seed: 5 });
}

#[test]
fn invalid_adapters_are_refused() {
    let pair = SettingsError::Pair { option: "rank-pattern", pair: "c_attn".to_owned() };
    assert_eq!(refused("--rank-pattern c_attn"), pair);
    assert_eq!(refused("--target-modules q,re:x"), SettingsError::MixedTargetModules);
    for options in ["--rank 0", "--rank-pattern c_attn=0", "--lora-dropout 1"] {
        let error = resolve(options).unwrap_err();
        assert!(matches!(error, Error::Lora(_)), "{options}: {error}");
    }
}

#[test]
fn options_override_a_file_of_settings() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.toml");
    let text = "rank = 4\nseed = 9\nlr = 1e-3\ntarget-modules = [\"q\"]\n\
                schedule = \"cosine\"\nclass-weights = \"spam=2\"\ndtype = \"bfloat16\"\n";
    fs::write(&file, text).unwrap();
    let with = |options: &str| resolve(&format!("--config {} {options}", file.display()));
    let refused_with = |options: &str| refused(&format!("--config {} {options}", file.display()));
    let run = with("").unwrap();
    let options = "--rank 4 --seed 9 --lr 1e-3 --target-modules q --schedule cosine \
                   --class-weights spam=2 --dtype bfloat16";
    let mut same = resolve(options).unwrap();
    same.out.clone_from(&run.out);
    same.settings.out.clone_from(&run.settings.out);
    assert_eq!(run, same);
    assert_eq!(with("--rank 8 --target-modules v").unwrap().lora.rank, 8);
    assert_eq!(with("--seeds 1,2").unwrap().settings.training.seeds, [1, 2]);

    // Flags in both directions, and options that require each other.
    fs::write(&file, "dora = true\ntensorboard = false\n").unwrap();
    assert!(with("").unwrap().lora.dora && !with("--dora=false").unwrap().lora.dora);
    assert!(with("--tensorboard").unwrap().settings.output.tensorboard);
    fs::write(&file, "validation-data = \"Cargo.toml\"\n").unwrap();
    assert_eq!(refused_with(""), SettingsError::Conflict(Conflict::ValidationWithoutTest));
    assert!(with("--test-data Cargo.toml").is_ok());
    fs::write(&file, "seed = 1\nseeds = [2, 3]\n").unwrap();
    assert_eq!(refused_with(""), SettingsError::Conflict(Conflict::SeedAndSeeds));
    fs::write(&file, "steps = 7\n").unwrap();
    assert_eq!(with("--epochs 2").unwrap().settings.training.steps, None);

    let problem_at = |text: &str| {
        fs::write(&file, text).unwrap();
        match refused_with("") {
            SettingsError::File { path, line, problem } if path == file => (line, problem),
            error => panic!("{error}"),
        }
    };
    let unknown = EntryError::Unknown { option: "rnak".to_owned() };
    assert_eq!(problem_at("rank = 4\nrnak = 5\n"), (2, unknown));
    let (line, problem) = problem_at("# none\n\nlr = \"fast\"\n");
    assert!(line == 3 && matches!(problem, EntryError::Invalid { option, .. } if option == "lr"));
    assert!(matches!(problem_at("rank = 4\n]\n"), (2, EntryError::Syntax(_))));
    assert!(resolve("--config nowhere.toml").unwrap_err().to_string().contains("nowhere.toml"));
}

#[test]
fn class_weights_turn_off_undersampling() {
    let balance = |options: &str| settings(options).data.balance.unwrap();
    assert_eq!(balance(""), Balance::Undersample);
    assert_eq!(balance("--class-weights balanced"), Balance::None);
    assert_eq!(balance("--class-weights spam=2 --balance undersample"), Balance::Undersample);
}

#[test]
fn run_toml_resolves_to_the_same_run() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(RESOLVED_FILE);
    for (command, options) in [
        ("train", ""),
        ("train", "--recipe book"),
        ("train", "--rank 4 --alpha 0.1 --target-modules q --head full --keep best --seed 5"),
        (
            "train",
            r"--target-modules re:h\.[01]\..*,x{1,2} --lora-dropout 0.25 --dora --init pissa",
        ),
        ("train", r"--rank-pattern c_attn=8,h\.0\..*=2 --alpha-pattern c_fc=0.1 --scaling rslora"),
        (
            "train",
            "--early-stopping 2 --class-weights balanced --max-grad-norm 0.5 --tensorboard \
             --gradient-accumulation-steps 3 --lora-plus-ratio 16 --warmup-steps 7 --device cpu \
             --checkpoint-every 9 --keep-checkpoints 1 --detect-anomaly",
        ),
        ("pretrain", "--softmax-candidates 5 --steps 12 --documents files"),
    ] {
        let run = resolve_as(command, options).unwrap();
        fs::write(&file, run.repeating().to_toml().unwrap()).unwrap();
        let mut again = resolve(&format!("--config {}", file.display())).unwrap();
        again.out.clone_from(&run.out);
        again.settings.out.clone_from(&run.settings.out);
        again.settings.model.clone_from(&run.settings.model);
        assert_eq!(again, run, "{options}");
    }
}

#[test]
fn pretrain_has_its_own_defaults() {
    let Settings { task, train, random_init, training, output, .. } =
        resolve_as("pretrain", "--lr 0.01").unwrap().settings;
    assert_eq!((task, train, random_init), (TaskKind::LanguageModel, Train::All, true));
    assert_eq!((training.lr, training.schedule, training.batch_size), (0.01, Decay::Cosine, 16));
    assert_eq!(training.weight_decay_on, WeightDecayOn::Matrices);
    assert_eq!(output.save_dtype, DType::Float16);
    // Defaults without effect are not in run.toml, where they would be refused.
    let other = resolve_as("pretrain", "--schedule constant --train lora").unwrap().settings;
    assert_eq!((other.training.min_lr_ratio, other.output.save_dtype), (0.0, DType::Float32));
    assert_eq!(other.training.weight_decay_on, WeightDecayOn::All);
    let help = Program::try_parse_from(["program", "pretrain", "--help"]).err().unwrap();
    assert!(help.to_string().contains("[default: 16]"), "the help shows its own defaults");
}

#[test]
fn train_option_selects_the_trainable_parameters() {
    for (name, train) in [
        ("lora", Train::Lora),
        ("head", Train::Head),
        ("last-block", Train::LastBlock),
        ("all", Train::All),
    ] {
        assert_eq!(settings(&format!("--train {name}")).train, train);
    }
    assert_eq!(settings("").train, Train::Lora);
    assert_eq!(settings("").adapter.head, Head::Lora);
}

#[test]
fn pretrain_help_gives_one_default_per_option() {
    let mut program = Program::command();
    let help = program.find_subcommand_mut("pretrain").unwrap().render_long_help().to_string();
    let words: Vec<&str> = help.split_whitespace().collect();
    let help = words.join(" ");
    assert!(help.contains("maximum norm over all parameters [default: 1]"), "{help}");
    for piece in help.split("[default: ").skip(1) {
        // Between two defaults of one option there is nothing.
        assert!(!piece.ends_with("] ") || piece.contains('['), "{piece}");
    }
}
