//! The three fetches, each with the server that it is given.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use e2e_tests::{Finished, Reply, Request, Server, binary};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::{ZipWriter, write::SimpleFileOptions};

pub const MEDIUM: &str =
    "/openai-community/gpt2-medium/resolve/6dcaa7a952f72f9298047fd5137cd6e4f05f41da";

/// Something that happens once instead of an answer.
pub type Fault = Box<dyn Fn(&[u8], &Request) -> Reply + Send>;

/// A fetch, the server for it, and a workspace to fetch into.
pub struct Case {
    pub server: Server,
    /// The file that faults happen to.
    pub main: String,
    pub faults: Arc<Mutex<VecDeque<Fault>>>,
    pub root: TempDir,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Where the main file, or what comes of it, is put below the root.
    pub result: &'static str,
    /// What is to be there in the end.
    pub content: Vec<u8>,
    /// The folder below the root that is written to first.
    pub first_folder: &'static str,
    /// Where the main file lies while it is not whole.
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
/// Wheels of a project: name and content.
type Wheels<'a> = Vec<(&'a str, &'a [u8])>;

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

/// A page of a package index.
fn page(files: &[(&str, &[u8])], html: bool) -> Vec<u8> {
    let links = files.iter().map(|(name, content)| {
        let (sum, size) = (sha256(content), content.len());
        if html {
            format!("<a href=\"../../files/{name}#sha256={sum}\">{name}</a>")
        } else {
            serde_json::json!({
                "filename": name, "url": format!("../../files/{name}"),
                "hashes": {"sha256": sum}, "size": size, "yanked": false,
            })
            .to_string()
        }
    });
    let links: Vec<String> = links.collect();
    if html { links.join("<br>") } else { format!("{{\"files\": [{}]}}", links.join(",")) }
        .into_bytes()
}

/// What the wheel of torch has in it.
pub fn in_torch(content: &[u8]) -> Vec<(&'static str, &[u8])> {
    vec![
        ("torch/lib/libtorch_cpu.so", content),
        ("torch/lib/libc10.so", b"c10"),
        ("torch/lib/libgomp.so.1", b"gomp"),
        ("torch/lib/libtorch_cuda.so", b"cuda"),
        ("torch/include/torch/torch.h", b"header"),
        ("torch/nn.py", b"python"),
        (
            "torch-2.13.0.dist-info/METADATA",
            b"Name: torch\nRequires-Dist: sympy\n\
              Requires-Dist: cuda-toolkit[cudart]==13.0.3; platform_system == \"Linux\"\n\
              Requires-Dist: nvidia-never==1; sys_platform == \"win32\"\n",
        ),
    ]
}

pub fn libtorch(html: bool) -> Case {
    let content = noise(300_000);
    let torch = zip(&in_torch(&content));
    libtorch_of(html, content, torch)
}

/// The fetch of a libtorch with that wheel of torch.
pub fn libtorch_of(html: bool, content: Vec<u8>, torch: Vec<u8>) -> Case {
    let toolkit = zip(&[(
        "cuda_toolkit-13.0.3.dist-info/METADATA",
        b"Requires-Dist: nvidia-cuda-runtime==13.0.96; extra == \"cudart\"\n\
          Requires-Dist: nvidia-cublas==13.1; extra == \"cublas\"\n",
    )]);
    let metadata: &[u8] = b"Name: x\n";
    let runtime = zip(&[
        ("nvidia/cu13/lib/libcudart.so.13", b"cudart"),
        ("x-1.dist-info/METADATA", metadata),
    ]);
    let cupti = zip(&[("nvidia/cu13/lib/libcupti.so.13", b"cupti")]);
    let wheel = "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl";
    let old = "torch-2.12.0-cp312-cp312-manylinux_2_28_x86_64.whl";
    let other = "torch-2.13.0-cp312-cp312-win_amd64.whl";
    let projects: [(&str, Wheels<'_>); 4] = [
        ("torch", vec![(old, b"old"), (wheel, &torch), (other, b"other")]),
        ("cuda-toolkit", vec![("cuda_toolkit-13.0.3-py3-none-any.whl", &toolkit)]),
        (
            "nvidia-cuda-runtime",
            vec![("nvidia_cuda_runtime-13.0.96-py3-none-manylinux1_x86_64.whl", &runtime)],
        ),
        (
            "nvidia-cuda-cupti",
            vec![("nvidia_cuda_cupti-13.0.85-py3-none-manylinux1_x86_64.whl", &cupti)],
        ),
    ];
    let mut files = BTreeMap::new();
    for (project, wheels) in projects {
        let mime = if html { "text/html" } else { "application/vnd.pypi.simple.v1+json" };
        let header = ("Content-Type".to_owned(), mime.to_owned());
        files.insert(format!("/simple/{project}/"), (page(&wheels, html), vec![header]));
        for (name, content) in wheels {
            files.insert(format!("/files/{name}"), (content.to_vec(), Vec::new()));
        }
    }
    let main = format!("/files/{wheel}");
    let (server, faults) = serve(files, &main);
    Case {
        environment: vec![("PIP_INDEX_URL".to_owned(), server.url("/simple"))],
        server,
        main,
        faults,
        root: tempfile::tempdir().unwrap(),
        arguments: vec!["fetch-libtorch".to_owned()],
        result: "libtorch/lib/libtorch_cpu.so",
        content,
        first_folder: "libtorch.partial",
        part: format!("libtorch.partial/wheels/{wheel}.part"),
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
        arguments: vec!["fetch-weights".to_owned(), "gpt2-medium".to_owned()],
        result: "weights/gpt2-medium/model.safetensors",
        content,
        first_folder: "weights",
        part: "weights/gpt2-medium/model.safetensors.part".to_owned(),
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
        result: "datasets/sms-spam/SMSSpamCollection",
        content,
        first_folder: "datasets",
        part: "datasets/sms-spam/sms-spam-collection.zip.part".to_owned(),
    }
}

/// Variables that would change what is tested.
const FOREIGN: [&str; 20] = [
    "LIBTORCH",
    "LIBTORCH_USE_PYTORCH",
    "PIP_INDEX_URL",
    "PIP_CONFIG_FILE",
    "VIRTUAL_ENV",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
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
    /// All three fetches.
    pub fn all() -> [Self; 3] {
        [libtorch(false), weights(), dataset()]
    }

    /// The fetch, as it is run.
    pub fn command(&self) -> Command {
        self.arranged(Command::new(binary("xtask")))
    }

    /// The same, where no file may be larger than so many blocks, as if the disk
    /// were full.
    pub fn run_on_full_disk(&self, blocks: u32) -> Finished {
        let mut shell = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        shell.args(["-c", &script, "sh"]).arg(binary("xtask"));
        let output = self.arranged(shell).output().unwrap();
        Finished { folder: tempfile::tempdir().unwrap(), output }
    }

    fn arranged(&self, mut command: Command) -> Command {
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
