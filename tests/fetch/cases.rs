//! The fetches, each with the server that it is given.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use safetensors::{Dtype, tensor::TensorView};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use test_support::{Finished, Reply, Request, Server, binary};
use zip::{ZipWriter, write::SimpleFileOptions};

pub const MEDIUM: &str =
    "/openai-community/gpt2-medium/resolve/6dcaa7a952f72f9298047fd5137cd6e4f05f41da";

/// Fault that happens once instead of an answer.
pub type Fault = Box<dyn Fn(&[u8], &Request) -> Reply + Send>;

/// A fetch, the server for it, and a workspace to fetch into.
pub struct Case {
    pub server: Server,
    /// The file that faults happen to.
    pub main: String,
    pub faults: Arc<Mutex<VecDeque<Fault>>>,
    pub root: TempDir,
    /// Pinned wheels, as `xtask/libtorch.json` lists them.
    pub table: Option<serde_json::Value>,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Final path of the main file, or of its content, below the root.
    pub result: &'static str,
    /// Expected content.
    pub content: Vec<u8>,
    /// The folder below the root that is written to first.
    pub first_folder: &'static str,
    /// Path of the main file while it is incomplete.
    pub part: String,
}

/// Content that is long enough to be cut, and compresses badly.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A file of a server, and the headers that it comes with.
type Served = (Vec<u8>, Vec<(String, String)>);

/// Serves files; faults happen to the main one.
fn serve(files: BTreeMap<String, Served>, main: &str) -> (Server, Arc<Mutex<VecDeque<Fault>>>) {
    let faults: Arc<Mutex<VecDeque<Fault>>> = Arc::default();
    let (waiting, main) = (Arc::clone(&faults), main.to_owned());
    let server = Server::start(move |request| {
        // What is moved is found under its old path in a folder.
        let asked = without_query(&request.path);
        let path = asked.strip_prefix("/moved").unwrap_or(asked);
        let Some((content, headers)) = files.get(path) else { return Reply::status(404) };
        if asked == main
            && request.method == "GET"
            && let Some(fault) = waiting.lock().unwrap().pop_front()
        {
            return fault(content, request);
        }
        let reply = Reply::file(content, request);
        headers.iter().fold(reply, |reply, (name, value)| reply.with(name, value))
    });
    (server, faults)
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

/// Page of a package index.
fn page(name: &str) -> Vec<u8> {
    format!("<a href=\"../../files/{name}#sha256=0\">{name}</a><br>").into_bytes()
}

/// Content of the wheel of torch.
pub fn in_torch(content: &[u8]) -> Vec<(&'static str, &[u8])> {
    vec![
        ("torch/lib/libtorch_cpu.so", content),
        ("torch/lib/libc10.so", b"c10"),
        ("torch/lib/libgomp.so.1", b"gomp"),
        ("torch/lib/libtorch_cuda.so", b"cuda"),
        ("torch/include/torch/torch.h", b"header"),
        ("torch/nn.py", b"python"),
    ]
}

pub fn libtorch() -> Case {
    let content = noise(300_000);
    let torch = zip(&in_torch(&content));
    libtorch_of(content, torch)
}

pub const TORCH: &str = "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl";
const RUNTIME: &str = "nvidia_cuda_runtime-13.0.96-py3-none-manylinux1_x86_64.whl";
const CUPTI: &str = "nvidia_cuda_cupti-13.0.85-py3-none-manylinux1_x86_64.whl";

/// Fetch of a libtorch with this wheel of torch, for the platform of the test.
pub fn libtorch_of(content: Vec<u8>, torch: Vec<u8>) -> Case {
    let wheels = BTreeMap::from([
        (TORCH, torch),
        (
            RUNTIME,
            zip(&[
                ("nvidia/cu13/lib/libcudart.so.13", b"cudart"),
                ("nvidia/cu13/include/crt/host_config.h", b"header"),
            ]),
        ),
        (CUPTI, zip(&[("nvidia/cu13/lib/libcupti.so.13", b"cupti")])),
    ]);
    let pinned = |name: &str| {
        let wheel = &wheels[name];
        serde_json::json!({"file": name, "size": wheel.len(), "sha256": sha256(wheel)})
    };
    let part_of = |name: &str, libraries: &[&str]| {
        let mut wheel = pinned(name);
        wheel["libraries"] = libraries.into();
        wheel
    };
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let table = serde_json::json!({"version": "2.13.0", "builds": [
        {"os": os, "arch": arch, "device": "cpu", "wheels": [
            part_of(TORCH, &["libtorch_cpu.so", "libc10.so", "libgomp.so.1"]),
            part_of(RUNTIME, &["libcudart.so.13"]),
            part_of(CUPTI, &["libcupti.so.13"]),
        ]},
        {"os": os, "arch": arch, "device": "cuda", "wheels": [pinned(TORCH), pinned(RUNTIME)]},
    ]});
    let mut files = BTreeMap::new();
    for (name, content) in wheels {
        let project = name.split('-').next().unwrap().replace('_', "-");
        let header = ("Content-Type".to_owned(), "text/html".to_owned());
        files.insert(format!("/simple/{project}/"), (page(name), vec![header]));
        files.insert(format!("/files/{name}"), (content, Vec::new()));
    }
    let main = format!("/files/{TORCH}");
    let (server, faults) = serve(files, &main);
    Case {
        environment: vec![("PIP_INDEX_URL".to_owned(), server.url("/simple"))],
        server,
        main,
        faults,
        root: tempfile::tempdir().unwrap(),
        table: Some(table),
        arguments: vec!["fetch-libtorch".to_owned()],
        result: "libtorch/lib/libtorch_cpu.so",
        content,
        first_folder: "libtorch.partial",
        part: format!("libtorch.partial/wheels/{TORCH}.part"),
    }
}

pub fn weights() -> Case {
    weights_of(noise(200_000))
}

/// The fetch of these weights.
pub fn weights_of(content: Vec<u8>) -> Case {
    let config = br#"{"n_embd": 1024, "n_layer": 24, "n_head": 16}"#.to_vec();
    let tag = |sum: String| vec![("X-Linked-Etag".to_owned(), format!("\"{sum}\""))];
    let main = format!("{MEDIUM}/model.safetensors");
    let files = BTreeMap::from([
        (format!("{MEDIUM}/config.json"), (config.clone(), tag(sha256(&config)))),
        (main.clone(), (content.clone(), tag(sha256(&content)))),
    ]);
    let (server, faults) = serve(files, &main);
    Case {
        environment: vec![("HF_ENDPOINT".to_owned(), server.url(""))],
        server,
        main,
        faults,
        root: tempfile::tempdir().unwrap(),
        table: None,
        arguments: vec!["fetch-weights".to_owned(), "gpt2-medium".to_owned()],
        result: "weights/gpt2-medium/model.safetensors",
        content,
        first_folder: "weights",
        part: "weights/gpt2-medium/model.safetensors.part".to_owned(),
    }
}

/// Commit of `me/small` on the test's hub.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Settings of a GPT-2 with one block.
pub fn config_of(vocabulary: usize) -> serde_json::Value {
    serde_json::json!({
        "model_type": "gpt2", "vocab_size": vocabulary, "n_positions": 8, "n_embd": 32,
        "n_layer": 1, "n_head": 2, "n_inner": 48,
    })
}

/// Names and shapes of its tensors, as in the files of the hub.
pub fn shapes_of(vocabulary: usize) -> BTreeMap<String, Vec<usize>> {
    let all: [(&str, &[usize]); 16] = [
        ("wte.weight", &[vocabulary, 32]),
        ("wpe.weight", &[8, 32]),
        ("h.0.ln_1.weight", &[32]),
        ("h.0.ln_1.bias", &[32]),
        ("h.0.attn.c_attn.weight", &[32, 96]),
        ("h.0.attn.c_attn.bias", &[96]),
        ("h.0.attn.c_proj.weight", &[32, 32]),
        ("h.0.attn.c_proj.bias", &[32]),
        ("h.0.ln_2.weight", &[32]),
        ("h.0.ln_2.bias", &[32]),
        ("h.0.mlp.c_fc.weight", &[32, 48]),
        ("h.0.mlp.c_fc.bias", &[48]),
        ("h.0.mlp.c_proj.weight", &[48, 32]),
        ("h.0.mlp.c_proj.bias", &[32]),
        ("ln_f.weight", &[32]),
        ("ln_f.bias", &[32]),
    ];
    all.into_iter().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect()
}

/// A safetensors file of noise.
pub fn safetensors_of(shapes: &BTreeMap<String, Vec<usize>>) -> Vec<u8> {
    let size = |shape: &[usize]| 4 * shape.iter().product::<usize>();
    let bytes = noise(shapes.values().map(|shape| size(shape)).max().unwrap_or_default());
    let tensors = shapes.iter().map(|(name, shape)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), &bytes[..size(shape)]).unwrap())
    });
    safetensors::serialize(tensors, None).unwrap()
}

pub fn checkpoint() -> Case {
    checkpoint_of(1500)
}

/// The fetch of a checkpoint with that vocabulary.
pub fn checkpoint_of(vocabulary: usize) -> Case {
    let content = safetensors_of(&shapes_of(vocabulary));
    let config = config_of(vocabulary).to_string().into_bytes();
    let entry = |path: &str, content: &[u8]| {
        let (oid, size) = (sha256(content), content.len());
        serde_json::json!({
            "type": "file", "path": path, "oid": "0".repeat(40), "size": size,
            "lfs": {"oid": oid, "size": size, "pointerSize": 134},
        })
    };
    let tree = [entry("config.json", &config), entry("model.safetensors", &content)];
    let main = format!("/me/small/resolve/{COMMIT}/model.safetensors");
    let json = |value: serde_json::Value| (value.to_string().into_bytes(), Vec::new());
    let files = BTreeMap::from([
        (
            format!("/api/models/me/small/revision/{COMMIT}"),
            json(serde_json::json!({"id": "me/small", "sha": COMMIT})),
        ),
        (format!("/api/models/me/small/tree/{COMMIT}"), json(tree.to_vec().into())),
        (format!("/me/small/resolve/{COMMIT}/config.json"), (config, Vec::new())),
        (main.clone(), (content.clone(), Vec::new())),
    ]);
    let (server, faults) = serve(files, &main);
    Case {
        environment: vec![("HF_ENDPOINT".to_owned(), server.url(""))],
        server,
        main,
        faults,
        root: tempfile::tempdir().unwrap(),
        table: None,
        arguments: vec!["fetch-weights".to_owned(), format!("me/small@{COMMIT}")],
        result: "weights/me--small/model.safetensors",
        content,
        first_folder: "weights",
        part: "weights/me--small/fetch.part/model.safetensors.part".to_owned(),
    }
}

pub fn dataset() -> Case {
    let content = noise(100_000);
    let archive = zip(&[("readme", b"hello"), ("SMSSpamCollection", &content)]);
    dataset_of(content, archive)
}

/// The fetch of that archive.
pub fn dataset_of(content: Vec<u8>, archive: Vec<u8>) -> Case {
    let main = "/archive.zip".to_owned();
    let sum = sha256(&archive);
    let files = BTreeMap::from([(main.clone(), (archive, Vec::new()))]);
    let (server, faults) = serve(files, &main);
    let arguments = ["fetch-dataset", "--url", &server.url(&main), "--sha256", &sum];
    Case {
        environment: Vec::new(),
        arguments: arguments.map(str::to_owned).to_vec(),
        server,
        main,
        faults,
        root: tempfile::tempdir().unwrap(),
        table: None,
        result: "datasets/sms-spam/SMSSpamCollection",
        content,
        first_folder: "datasets",
        part: "datasets/sms-spam/sms-spam-collection.zip.part".to_owned(),
    }
}

/// Variables that would change what is tested.
const FOREIGN: [&str; 16] = [
    "LIBTORCH",
    "LIBTORCH_USE_PYTORCH",
    "PIP_INDEX_URL",
    "XDG_CACHE_HOME",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

impl Case {
    /// All fetches.
    pub fn all() -> [Self; 4] {
        [libtorch(), weights(), checkpoint(), dataset()]
    }

    /// The fetch, as it is run.
    pub fn command(&self) -> Command {
        self.arranged(Command::new(binary("xtask")))
    }

    /// The same with a limit on the size of files, in blocks, as if the disk were full.
    pub fn run_on_full_disk(&self, blocks: u32) -> Finished {
        let mut shell = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        shell.args(["-c", &script, "sh"]).arg(binary("xtask"));
        let output = self.arranged(shell).output().unwrap();
        Finished { folder: tempfile::tempdir().unwrap(), output }
    }

    fn arranged(&self, mut command: Command) -> Command {
        if let Some(table) = &self.table {
            // Some tests remove the whole workspace in between.
            fs::create_dir_all(self.path("xtask")).unwrap();
            fs::write(self.path("xtask/libtorch.json"), table.to_string()).unwrap();
        }
        command.arg("--root").arg(self.root.path()).args(&self.arguments);
        for name in FOREIGN {
            command.env_remove(name);
        }
        command.env("HOME", self.root.path().join("home"));
        command.envs(self.environment.iter().cloned());
        command
    }

    pub fn run(&self) -> Finished {
        let output = self.command().output().unwrap();
        Finished { folder: tempfile::tempdir().unwrap(), output }
    }

    /// Starts the fetch and does not wait for it.
    pub fn spawn(&self) -> Child {
        self.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub fn fault(&self, fault: impl Fn(&[u8], &Request) -> Reply + Send + 'static) {
        self.faults.lock().unwrap().push_back(Box::new(fault));
    }

    /// Requests for the main file.
    pub fn seen(&self) -> Vec<Request> {
        let all = self.server.seen().into_iter();
        let is_it = |request: &Request| without_query(&request.path) == self.main;
        all.filter(|request| is_it(request) && request.method == "GET").collect()
    }

    /// Demands that everything is in place and nothing else.
    #[track_caller]
    pub fn is_complete(&self) {
        assert!(fs::read(self.path(self.result)).unwrap() == self.content, "{}", self.result);
        let left = leftovers(self.root.path());
        assert!(left.is_empty(), "{left:?} was left behind");
    }

    /// Demands that nothing stands under its final name.
    #[track_caller]
    pub fn is_absent(&self) {
        assert!(!self.path(self.result).exists(), "{} is there", self.result);
        assert!(!self.path("libtorch").exists());
    }
}

/// Every file below a folder, by its path there.
pub fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), PathBuf::from(entry.file_name()));
        if path.is_dir() {
            let below = files_below(&path).into_iter();
            all.extend(below.map(|(file, bytes)| (name.join(file), bytes)));
        } else {
            all.insert(name, fs::read(&path).unwrap());
        }
    }
    all
}

/// Files of work in progress.
fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "libtorch.partial" {
            all.extend(leftovers(&path));
        } else if name.contains(".part") || name.ends_with(".zip") {
            all.push(path);
        }
    }
    all
}
