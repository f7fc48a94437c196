//! Several processes of one program that are connected on loopback.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, ExitStatus, Stdio},
};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::binary;

/// Port that no other program is given while this value lives: it is bound without listening. c10d
/// can still listen there, because both sockets allow the reuse of addresses.
pub struct Port {
    number: u16,
    _socket: Socket,
}

impl Port {
    /// Reserves a port.
    pub fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let number = socket.local_addr().unwrap().as_socket().unwrap().port();
        Self { number, _socket: socket }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Running processes of one run. They are killed if the test fails.
pub struct Ranks {
    /// Standard output and standard error of each rank.
    folder: TempDir,
    children: Vec<Child>,
    program: String,
    /// Arguments of each rank.
    arguments: Vec<Vec<String>>,
    /// Variables of each rank beside the launcher's.
    variables: Vec<Vec<(&'static str, String)>>,
    port: Port,
}

/// Exit status and output of a rank.
#[derive(Debug)]
pub struct EndedRank {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl EndedRank {
    /// The error message, which is one line.
    #[track_caller]
    pub fn error(&self) -> &str {
        assert!(!self.status.success(), "it should have failed: {}", self.stderr);
        let mut errors = self.stderr.lines().filter(|line| line.starts_with("error: "));
        let error = errors.next().unwrap_or_else(|| panic!("no error message: {}", self.stderr));
        assert_eq!(errors.next(), None, "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        error
    }
}

impl Ranks {
    /// Starts `world` processes of a program, each with its own arguments, and with the variables
    /// that launchers set.
    pub fn start(program: &str, world: usize, arguments: impl Fn(usize) -> Vec<String>) -> Self {
        Self::start_with(program, world, arguments, |_| Vec::new())
    }

    /// Starts processes with more variables.
    pub fn start_with(
        program: &str,
        world: usize,
        arguments: impl Fn(usize) -> Vec<String>,
        variables: impl Fn(usize) -> Vec<(&'static str, String)>,
    ) -> Self {
        let mut ranks = Self {
            folder: tempfile::tempdir().unwrap(),
            children: Vec::new(),
            program: program.to_owned(),
            arguments: (0..world).map(arguments).collect(),
            variables: (0..world).map(variables).collect(),
            port: Port::reserve(),
        };
        for rank in 0..world {
            let child = ranks.spawn(rank);
            ranks.children.push(child);
        }
        ranks
    }

    /// Starts a rank that has ended again, with new output.
    pub fn restart(&mut self, rank: usize) {
        assert!(self.has_ended(rank), "rank {rank} is running");
        self.children[rank] = self.spawn(rank);
    }

    fn spawn(&self, rank: usize) -> Child {
        let file =
            |name: &str| File::create(self.folder.path().join(format!("{name}-{rank}"))).unwrap();
        let mut command = Command::new(binary(&self.program));
        for name in ["TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE"] {
            command.env_remove(name);
        }
        command.args(&self.arguments[rank]).envs([
            ("RANK", rank.to_string()),
            ("WORLD_SIZE", self.arguments.len().to_string()),
            ("MASTER_ADDR", "127.0.0.1".to_owned()),
            ("MASTER_PORT", self.port.number().to_string()),
            ("OMP_NUM_THREADS", "1".to_owned()),
        ]);
        command.envs(self.variables[rank].iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        command.spawn().unwrap()
    }

    /// Sends a signal to a rank.
    pub fn signal(&self, rank: usize, signal: &str) {
        let kill = format!("kill -s {signal} {}", self.children[rank].id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Returns whether a rank has ended.
    pub fn has_ended(&mut self, rank: usize) -> bool {
        self.children[rank].try_wait().unwrap().is_some()
    }

    /// Waits until a rank has ended, and returns its output.
    pub fn wait(&mut self, rank: usize) -> EndedRank {
        let status = self.children[rank].wait().unwrap();
        let text = |name: &str| {
            fs::read_to_string(self.folder.path().join(format!("{name}-{rank}"))).unwrap()
        };
        EndedRank { status, stdout: text("out"), stderr: text("err") }
    }

    /// Waits until all ranks have ended.
    pub fn wait_for_all(mut self) -> Vec<EndedRank> {
        (0..self.children.len()).map(|rank| self.wait(rank)).collect()
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
