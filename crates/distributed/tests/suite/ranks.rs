//! Processes of this test binary, one for each rank.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use test_support::Port;

/// Begins the lines that a rank prints for its test.
pub const MARK: &str = "> ";

/// Variables of a rank beside the launcher's.
pub type Variables = Vec<(&'static str, String)>;

/// Limit for a line of a rank, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Line of each rank in the role `differ`, in which rank 1 calls other operations.
pub fn different_calls() -> String {
    let problems = [
        "length of the tensor in sum",
        "type of the tensor in sum",
        "operation",
        "length of the tensor in gather",
        "operation",
    ];
    problems.map(|it| format!("{it}: rank 1 differs from the other ranks")).join(" | ")
}

/// A rank: this test binary, running `rank::rank`.
pub struct Rank {
    child: Child,
    lines: Receiver<String>,
}

impl Rank {
    /// Starts a process with the variables of a launcher.
    pub fn start(role: &str, port: u16, rank: usize, world: usize, timeout: Duration) -> Self {
        Self::start_with(role, port, rank, world, timeout, Vec::new())
    }

    /// Starts a process with more variables.
    pub fn start_with(
        role: &str,
        port: u16,
        rank: usize,
        world: usize,
        timeout: Duration,
        more: Variables,
    ) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "rank::rank", "--nocapture"]);
        for name in ["TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE", "GLOO_SOCKET_IFNAME"] {
            command.env_remove(name);
        }
        let variables = [
            ("ROLE", role.to_owned()),
            ("RANK", rank.to_string()),
            ("WORLD_SIZE", world.to_string()),
            ("MASTER_ADDR", "127.0.0.1".to_owned()),
            ("MASTER_PORT", port.to_string()),
            ("TIMEOUT_MS", timeout.as_millis().to_string()),
            ("OMP_NUM_THREADS", "1".to_owned()),
        ];
        let mut child = command.envs(variables).envs(more).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(text) = line.strip_prefix(MARK) {
                    // The test has ended if nobody receives.
                    let _ = sender.send(text.to_owned());
                }
            }
        });
        Self { child, lines }
    }

    /// Returns the next line that the rank prints.
    #[track_caller]
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the rank ended without the expected line")
    }

    pub fn signal(&self, signal: &str) {
        let kill = format!("kill -s {signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts all ranks of a group and returns their lines, one of each.
#[track_caller]
pub fn lines_of(role: &str, world: usize) -> Vec<String> {
    let port = Port::reserve();
    let ranks = start(role, &port, 0..world, world, PATIENCE);
    ranks.iter().map(Rank::line).collect()
}

/// Starts some ranks of a group.
pub fn start(
    role: &str,
    port: &Port,
    ranks: impl IntoIterator<Item = usize>,
    world: usize,
    timeout: Duration,
) -> Vec<Rank> {
    let start = |rank| Rank::start(role, port.number(), rank, world, timeout);
    ranks.into_iter().map(start).collect()
}
