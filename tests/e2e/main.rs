//! End-to-end tests of the programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod commands;
mod continued;
#[cfg(target_os = "linux")]
mod distributed;
#[cfg(unix)]
mod documented_commands;
mod dry_run;
mod end_of_text;
mod found_tables;
#[cfg(target_os = "linux")]
mod full_disk;
mod generation;
#[cfg(target_os = "linux")]
mod generation_on_terminal;
mod golden;
#[cfg(unix)]
mod hostile;
mod language_model;
mod language_model_evaluation;
#[cfg(unix)]
mod language_model_inputs;
#[cfg(target_os = "linux")]
mod launchers;
mod misuse;
mod negative_numbers;
mod options;
mod output_folder;
mod pocket_model;
#[cfg(target_os = "linux")]
mod power_cut;
mod pretrain;
#[cfg(unix)]
mod randomized;
mod resume;
#[cfg(unix)]
mod scoring;
#[cfg(unix)]
mod scoring_kills;
mod table_formats;
#[cfg(target_os = "linux")]
mod table_memory;
mod third_party;
mod tokenizer_language_models;
mod tokenizers;
#[cfg(unix)]
mod unexpected_data;
mod unusual_examples;
