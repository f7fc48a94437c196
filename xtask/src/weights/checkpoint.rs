//! Any checkpoint of GPT-2's architecture on the hub.
//!
//! Files are collected in a directory of their own inside the final one. They move to their final
//! names after all of them have been verified and the weights fit the configuration.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use gpt2_config::{Body, ConfigProblem, Gpt2Config, TensorProblem};
use storage::{create_directory, rename, sha256_file, terminal_safe};
use tensor_files::TensorFiles;

use super::{
    Options,
    choice::Choice,
    hub::{File, Hub, Snapshot},
    record::{Fetched, Record},
    source::Source,
    wanted::{Origin, Wanted, plan},
};
use crate::{
    net::{Client, Sum},
    sha256sums,
    workspace::{Lock, remove_file, remove_folder, show},
};

/// Directory of the files of an unfinished fetch, which the next one resumes.
const STAGING: &str = "fetch.part";
const LOCK: &str = ".lock";
const CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";

/// Files of tokenizers that the programs read, and models of SentencePiece, which they do not.
const TOKENIZERS: [&str; 3] = ["tokenizer.json", "merges.txt", "vocab.txt"];
const SENTENCE_PIECE: [&str; 3] = ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model"];

pub fn fetch(hub: &Hub, source: &Source, options: &Options<'_>) -> Result<()> {
    let Options { root, folder, force, dry_run } = *options;
    let staging = folder.join(STAGING);
    let client = Client::new();
    let fetch = Fetch { hub, client: &client, source, root, folder, staging: &staging, force };
    if dry_run {
        return fetch.plan();
    }
    let existed = folder.exists();
    create_directory(folder)?;
    let _lock = Lock::take(&folder.join(LOCK), "fetch")?;
    create_directory(&staging)?;
    let result = fetch.run();
    // A name with a typing error leaves no directory behind. These refuse if anything is inside.
    if result.is_err() && fs::remove_dir(&staging).is_ok() && is_empty(folder) {
        let removed = fs::remove_file(folder.join(LOCK));
        let _ = removed.and_then(|()| if existed { Ok(()) } else { fs::remove_dir(folder) });
    }
    result
}

/// Returns whether a directory has nothing but what a fetch puts there first.
fn is_empty(folder: &Path) -> bool {
    let is_work = |name: &std::ffi::OsStr| name == LOCK || name == STAGING;
    fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.all(|entry| entry.is_ok_and(|it| is_work(&it.file_name())))
    })
}

/// Fetch of a repository into a directory.
struct Fetch<'a> {
    hub: &'a Hub,
    client: &'a Client,
    source: &'a Source,
    root: &'a Path,
    folder: &'a Path,
    staging: &'a Path,
    force: bool,
}

impl Fetch<'_> {
    fn run(&self) -> Result<()> {
        let Source { repository, revision, .. } = self.source;
        let old = self.record()?;
        let present = old.as_ref().filter(|_| !self.force);
        // A commit is what it was; other revisions may have moved.
        let is_fixed = present.is_some_and(|old| {
            old.commit == *revision || (self.hub.offline && old.revision == *revision)
        });
        if let Some(old) = present
            && is_fixed
            && (self.hub.offline || old.may_lack.is_empty())
            && old.is_complete(self.folder)?
        {
            return self.report_present(old);
        }
        let snapshot = self.snapshot()?;
        if let Some(old) = present {
            old.check_same(&snapshot, self.folder)?;
            // A fixed one is incomplete.
            if !is_fixed && old.may_lack.is_empty() && old.is_complete(self.folder)? {
                return self.report_present(old);
            }
        }
        let choice = self.or_explain_cache(Choice::of(repository, &snapshot))?;
        let at_commit = Source { revision: snapshot.commit.clone(), ..self.source.clone() };
        let generation = choice.optional.iter().find(|file| file.name == GENERATION_CONFIG);
        for file in [&choice.config].into_iter().chain(generation) {
            self.obtain(&at_commit, file)?;
        }
        // What makes the weights useless is found before they are fetched.
        let config = self.or_discard(self.config(self.staging))?;
        let mut shards = Vec::new();
        if choice.is_sharded() {
            self.obtain(&at_commit, &choice.weights)?;
            let found = self.shards(&choice.weights.name, &snapshot);
            shards = self.or_discard(self.or_explain_cache(found))?;
        }
        let Choice { config: settings, optional, weights } = choice;
        let files = [vec![settings], optional, vec![weights.clone()], shards].concat();
        for file in &files {
            self.obtain(&at_commit, file)?;
        }
        let limits = self.or_discard(self.validate(self.staging, &weights.name, &config))?;
        let record = self.describe(&snapshot, &files)?;
        self.publish(old.as_ref(), &record)?;
        self.report(&record, limits);
        Ok(())
    }

    /// Reads the record of an earlier fetch. Refuses a directory with anything else in it.
    fn record(&self) -> Result<Option<Record>> {
        let folder = self.folder.display();
        match Record::read(self.folder)? {
            Some(old) if old.repository != self.source.repository => bail!(
                "{folder} has {}: give another directory with --out",
                terminal_safe(&old.repository)
            ),
            None if self.folder.exists() && !is_empty(self.folder) => {
                bail!("{folder} was not fetched from the Hub: give another directory with --out")
            }
            old => Ok(old),
        }
    }

    fn snapshot(&self) -> Result<Snapshot> {
        match self.hub.offline {
            true => self.hub.cached_snapshot(self.source),
            false => self.hub.snapshot(self.client, self.source),
        }
    }

    /// Adds to an error offline that the cache may be the cause.
    fn or_explain_cache<T>(&self, result: Result<T>) -> Result<T> {
        if !self.hub.offline {
            return result;
        }
        result.with_context(|| {
            format!(
                "the cache {} may have only some files of {}, and HF_HUB_OFFLINE or --offline forbids \
                 fetching the others: fetch it once with the network",
                self.hub.cache.display(),
                self.source
            )
        })
    }

    /// Puts a file into the directory of the fetch, verified.
    fn obtain(&self, source: &Source, file: &File) -> Result<()> {
        let File { name, expected } = file;
        let (to, present) = (self.staging.join(name), self.folder.join(name));
        let is_it =
            |path: &Path| expected.sum.is_some() && path.is_file() && expected.check(path).is_ok();
        if is_it(&to) {
            return Ok(());
        }
        let cannot_write = || format!("cannot write {}", to.display());
        if !self.force && is_it(&present) {
            remove_file(&to)?;
            let linked = fs::hard_link(&present, &to);
            linked.or_else(|_| fs::copy(&present, &to).map(drop)).with_context(cannot_write)?;
            return Ok(());
        }
        let wanted = Wanted {
            hub: self.hub,
            client: self.client,
            source,
            file: name,
            to: &to,
            shown: show(self.root, &present).to_string(),
            known: expected.clone(),
            alternative: "",
        };
        if let Origin::Cache(path) = wanted.fetch(|part, _| Ok(rename(part, &to)?))? {
            say!("{name} is from the cache ({})", path.display());
        }
        Ok(())
    }

    /// Reads the configuration, which must describe a GPT-2, and checks the special tokens of
    /// `generation_config.json`.
    fn config(&self, folder: &Path) -> Result<Gpt2Config> {
        let repository = &self.source.repository;
        let read = || -> gpt2_config::Result<Gpt2Config> {
            let config = Gpt2Config::parse(&gpt2_config::read_text(&folder.join(CONFIG))?, CONFIG)?;
            let generation = folder.join(GENERATION_CONFIG);
            if generation.is_file() {
                let text = gpt2_config::read_text(&generation)?;
                gpt2_config::check_special_tokens(&text, GENERATION_CONFIG)?;
            }
            Ok(config)
        };
        read().map_err(|error| match error {
            gpt2_config::Error::Config {
                problem: ConfigProblem::ModelType { model_type }, ..
            } => anyhow!(
                "{repository} is a model of the architecture {} (model_type in its config.json), \
                 expected gpt2: choose a checkpoint of GPT-2",
                terminal_safe(&model_type)
            ),
            gpt2_config::Error::Config { .. } => anyhow!("{repository} cannot be used: {error}"),
            error => error.into(),
        })
    }

    fn shards(&self, index: &str, snapshot: &Snapshot) -> Result<Vec<File>> {
        let repository = &self.source.repository;
        let names = tensor_files::shards(&self.staging.join(index)).map_err(|error| {
            anyhow!("{repository} cannot be used: {}", problem_of(index, error))
        })?;
        snapshot.shards(repository, index, &names)
    }

    /// Compares the headers of the weights with the configuration. Returns what prevents the
    /// programs from loading a valid checkpoint.
    fn validate(
        &self,
        folder: &Path,
        weights: &str,
        config: &Gpt2Config,
    ) -> Result<Option<&'static str>> {
        let repository = &self.source.repository;
        let files = TensorFiles::open(&folder.join(weights)).map_err(|error| {
            anyhow!("{repository} cannot be used: {}", problem_of(weights, error))
        })?;
        let mut problems = Body::find(&files, config).problems;
        let is_untied = problems.contains(&TensorProblem::UntiedHead);
        problems.retain(|problem| *problem != TensorProblem::UntiedHead);
        if !problems.is_empty() {
            bail!(
                "{repository} cannot be used: {weights} does not fit its config.json: {}",
                gpt2_config::summary(&problems)
            );
        }
        let has = |name: &str| folder.join(name).is_file();
        Ok(if is_untied {
            Some(
                "its lm_head.weight differs from wte.weight, but tie_word_embeddings is true: set it to \
                 false in config.json for a head of its own",
            )
        } else if SENTENCE_PIECE.into_iter().any(has) && !TOKENIZERS.into_iter().any(has) {
            Some(
                "its tokenizer is a model of SentencePiece: write tokenizer.json with \
                 AutoTokenizer.from_pretrained(…).save_pretrained(…) of transformers",
            )
        } else {
            None
        })
    }

    /// Removes files that are as published and of no use.
    fn or_discard<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            let _ = fs::remove_dir_all(self.staging).and_then(|()| fs::create_dir(self.staging));
        }
        result
    }

    fn describe(&self, snapshot: &Snapshot, files: &[File]) -> Result<Record> {
        let fetched = |file: &File| {
            let path = self.staging.join(&file.name);
            let size = fs::metadata(&path)
                .with_context(|| format!("cannot read {}", path.display()))?
                .len();
            let sum = match file.expected.sum.clone() {
                Some(sum) => sum,
                None => Sum::Sha256(sha256_file(&path)?),
            };
            Ok((file.name.clone(), Fetched { size, sum }))
        };
        let Source { repository, revision, .. } = self.source.clone();
        let files = files.iter().map(fetched).collect::<Result<_>>()?;
        let may_lack = snapshot.unknown().into_iter().map(str::to_owned).collect();
        Ok(Record { repository, revision, commit: snapshot.commit.clone(), files, may_lack })
    }

    /// Gives the files their final names, `config.json` last: without it, programs refuse the
    /// directory, and the next fetch finishes an interrupted one.
    fn publish(&self, old: Option<&Record>, record: &Record) -> Result<()> {
        let mut names: Vec<&str> = record.files.keys().map(String::as_str).collect();
        self.check_own_files(old, record)?;
        remove_file(&self.staging.join(sha256sums::NAME))?;
        sha256sums::remember(self.staging, &names)?;
        if let Some(old) = old {
            for name in [CONFIG].into_iter().chain(old.files.keys().map(String::as_str)) {
                remove_file(&self.folder.join(name))?;
            }
        }
        record.write(self.folder)?;
        names.retain(|name| *name != CONFIG);
        for name in names.into_iter().chain([sha256sums::NAME, CONFIG]) {
            rename(&self.staging.join(name), &self.folder.join(name))?;
        }
        remove_folder(self.staging)
    }

    /// Reports files of the user that are replaced or removed; without --force, refuses them.
    fn check_own_files(&self, old: Option<&Record>, record: &Record) -> Result<()> {
        let fetched = |record: &Record, name: &String, path: &Path| {
            record.files.get(name).is_some_and(|file| file.is(path))
        };
        let names = record.files.keys().chain(old.into_iter().flat_map(|old| old.files.keys()));
        for name in names.collect::<BTreeSet<_>>() {
            let path = self.folder.join(name);
            let is_fetched =
                fetched(record, name, &path) || old.is_some_and(|old| fetched(old, name, &path));
            if is_fetched || !path.is_file() {
                continue;
            }
            let shown = show(self.root, &path);
            if !self.force {
                bail!("{shown} is not the published file; --force fetches that one in its place");
            }
            let outcome = if record.files.contains_key(name) {
                "was replaced by the published one"
            } else {
                "was removed, because the repository has it no longer"
            };
            say!("note: {shown} was not as it was fetched, and {outcome} (--force)");
        }
        Ok(())
    }

    /// Reports a complete earlier fetch.
    fn report_present(&self, old: &Record) -> Result<()> {
        let path = gpt2_config::weight_file(self.folder);
        let weights = path.file_name().unwrap_or_default().to_string_lossy();
        let limits = self.validate(self.folder, &weights, &self.config(self.folder)?)?;
        self.report(old, limits);
        Ok(())
    }

    fn report(&self, record: &Record, limits: Option<&str>) {
        if !record.may_lack.is_empty() {
            say!(
                "note: the cache had only some files of {}, and may have lacked {}: run the command \
                 again with the network to complete them",
                terminal_safe(&record.repository),
                terminal_safe(&record.may_lack.join(", "))
            );
        }
        let shown = show(self.root, self.folder);
        let bytes: u64 = record.files.values().map(|file| file.size).sum();
        let usage = match limits {
            None => format!("use it with --model {shown}"),
            Some(reason) => format!("the programs do not load it, because {reason}"),
        };
        say!(
            "{shown} is there: {} files ({}) of {} at commit {}; {usage}",
            record.files.len(),
            indicatif::HumanBytes(bytes),
            terminal_safe(&record.repository),
            terminal_safe(&record.commit)
        );
    }

    /// Says what would be done.
    fn plan(&self) -> Result<()> {
        let old = self.record()?;
        let snapshot = self.snapshot()?;
        if let Some(old) = old.filter(|_| !self.force) {
            old.check_same(&snapshot, self.folder)?;
        }
        let found = Choice::of(&self.source.repository, &snapshot);
        let choice = self.or_explain_cache(found)?;
        let at_commit = Source { revision: snapshot.commit.clone(), ..self.source.clone() };
        let mut files = vec![&choice.config, &choice.weights];
        if choice.is_sharded() {
            // The index is not fetched: its shards are recognized by their names.
            let (stem, rest) = choice.weights.name.split_once('.').unwrap_or_default();
            let ending = format!(".{}", rest.trim_end_matches(".index.json"));
            let is_shard = |file: &&File| {
                file.name.starts_with(&format!("{stem}-")) && file.name.ends_with(&ending)
            };
            files.extend(snapshot.files.iter().filter(is_shard));
        }
        files.into_iter().chain(&choice.optional).try_for_each(|file| {
            let to = self.folder.join(&file.name);
            let is_kept = to.is_file() && !self.force;
            plan(self.hub, &at_commit, file, &show(self.root, &to), is_kept)
        })
    }
}

/// Describes an unusable file by its name on the hub, not by its place in the fetch.
fn problem_of(name: &str, error: tensor_files::Error) -> String {
    match error {
        tensor_files::Error::Format { path, problem } => {
            let file = path.file_name().unwrap_or(name.as_ref());
            format!("{}: {problem}", file.to_string_lossy())
        }
        other => other.to_string(),
    }
}
