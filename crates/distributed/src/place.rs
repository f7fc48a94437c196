//! Place of a process among the processes of a run, as the launcher gives it.

use std::{env, fmt};

use crate::error::{EnvironmentProblem as Problem, Result};

/// Program that starts the processes of a run and sets their variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Launcher {
    /// `torchrun`.
    Torchrun,
    /// `RANK` and `WORLD_SIZE` without a trace of `torchrun`: Kubeflow, scripts.
    Variables,
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `mpirun` of MPICH, Intel MPI and their relatives.
    Mpich,
    /// `srun` of Slurm.
    Slurm,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchrun => "torchrun",
            Self::Variables => "the environment",
            Self::OpenMpi => "Open MPI",
            Self::Mpich => "MPICH",
            Self::Slurm => "Slurm",
        })
    }
}

/// Place of a process among the processes of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Rank, from 0.
    pub rank: usize,
    /// World size: number of processes.
    pub world: usize,
    /// Rank among the processes on the same machine.
    pub local_rank: usize,
    /// Host name or address of rank 0's machine (`MASTER_ADDR`).
    pub host: String,
    /// Port of the store (`MASTER_PORT`).
    pub port: u16,
    /// True if `torchrun` serves the store already; else rank 0 does.
    pub agent_serves_store: bool,
    /// Number of restarts by `torchrun`. Each has its own keys in the store.
    pub generation: usize,
    /// Network interface for the connections between ranks (`GLOO_SOCKET_IFNAME`) [default: the
    /// one that leads to rank 0].
    pub interface: Option<String>,
    /// The launcher.
    pub launcher: Launcher,
}

/// c10d's default for `MASTER_PORT`.
const DEFAULT_PORT: u16 = 29500;

/// Largest world size that is not taken as an error. Memory and connections grow with it.
pub(crate) const MOST_PROCESSES: usize = 1 << 16;

/// Variables of a launcher.
struct Names {
    launcher: Launcher,
    rank: &'static str,
    world: &'static str,
    local_rank: &'static str,
    /// Number of processes on this machine; for Slurm, the number of machines.
    extent: &'static str,
}

/// Variables by launcher, the innermost launcher first: `srun` starts `mpirun`'s daemons, and both
/// start `torchrun`.
const LAUNCHERS: [Names; 4] = [
    Names {
        launcher: Launcher::Variables,
        rank: "RANK",
        world: "WORLD_SIZE",
        local_rank: "LOCAL_RANK",
        extent: "LOCAL_WORLD_SIZE",
    },
    Names {
        launcher: Launcher::OpenMpi,
        rank: "OMPI_COMM_WORLD_RANK",
        world: "OMPI_COMM_WORLD_SIZE",
        local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
        extent: "OMPI_COMM_WORLD_LOCAL_SIZE",
    },
    Names {
        launcher: Launcher::Mpich,
        rank: "PMI_RANK",
        world: "PMI_SIZE",
        local_rank: "MPI_LOCALRANKID",
        extent: "MPI_LOCALNRANKS",
    },
    // SLURM_PROCID and SLURM_NTASKS are also set in the shell of `sbatch`, which is not a task; the
    // variables of a step are not.
    Names {
        launcher: Launcher::Slurm,
        rank: "SLURM_PROCID",
        world: "SLURM_STEP_NUM_TASKS",
        local_rank: "SLURM_LOCALID",
        extent: "SLURM_STEP_NUM_NODES",
    },
];

impl Place {
    /// Reads the place from the environment; `None` is a run of one process.
    ///
    /// Without `MASTER_ADDR`, rank 0 is on this machine if the launcher reports that all processes
    /// are. `MASTER_PORT` is 29500 by default.
    ///
    /// # Errors
    ///
    /// [`Error::Environment`](crate::Error::Environment) if a variable is invalid or missing, or if
    /// `RANK` and `WORLD_SIZE` contradict an outer launcher.
    pub fn of_environment() -> Result<Option<Self>> {
        Self::of_variables(|name| env::var_os(name).map(|value| value.to_string_lossy().into()))
    }

    /// Like [`of_environment`](Self::of_environment), with a function that returns the value of a
    /// variable.
    pub fn of_variables(value: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let variables = Variables(|name: &str| value(name).filter(|value| !value.is_empty()));
        let mut found = Vec::new();
        for names in &LAUNCHERS {
            found.extend(variables.seat(names)?);
        }
        let Some(seat) = found.first() else {
            return Ok(None);
        };
        let mut launcher = seat.names.launcher;
        if launcher == Launcher::Variables {
            if variables.text("TORCHELASTIC_RUN_ID").is_some() {
                // Each process of an outer launcher may be a torchrun with several ranks.
                launcher = Launcher::Torchrun;
            } else if let Some(other) = found.iter().find(|other| other.contradicts(seat)) {
                let problem = Problem::Contradiction {
                    rank: seat.rank,
                    world: seat.world,
                    launcher: other.names.launcher,
                    other_rank: other.rank,
                    other_world: other.world,
                };
                return Err(problem.into());
            }
        }
        if seat.world == 1 {
            return Ok(None);
        }
        let host = match variables.text("MASTER_ADDR") {
            Some(host) => host,
            None if variables.is_one_machine(seat)? => "127.0.0.1".to_owned(),
            None => return Err(Problem::NoMaster { launcher, world: seat.world }.into()),
        };
        let local_rank = variables.number(seat.names.local_rank)?;
        Ok(Some(Self {
            rank: seat.rank,
            world: seat.world,
            local_rank: local_rank.unwrap_or(0),
            host,
            port: variables.port()?,
            agent_serves_store: variables.text("TORCHELASTIC_USE_AGENT_STORE").as_deref()
                == Some("True"),
            generation: variables.number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0),
            interface: variables.text("GLOO_SOCKET_IFNAME"),
            launcher,
        }))
    }

    /// Returns true if this process serves the store.
    pub(crate) fn serves_store(&self) -> bool {
        self.rank == 0 && !self.agent_serves_store
    }
}

/// Rank and world size of one launcher.
struct Seat {
    names: &'static Names,
    rank: usize,
    world: usize,
}

impl Seat {
    /// Returns true if two launchers number the same processes differently. A launcher of one
    /// process contradicts nothing: it may have started the shell.
    fn contradicts(&self, other: &Self) -> bool {
        self.world > 1 && (self.rank, self.world) != (other.rank, other.world)
    }
}

struct Variables<F>(F);

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    fn text(&self, name: &str) -> Option<String> {
        self.0(name)
    }

    fn number(&self, variable: &'static str) -> Result<Option<usize>, Problem> {
        let parse = |value: String| {
            let expected = "a whole number".to_owned();
            value.parse().map_err(|_| Problem::Invalid { variable, expected, value })
        };
        self.text(variable).map(parse).transpose()
    }

    fn seat(&self, names: &'static Names) -> Result<Option<Seat>, Problem> {
        let (rank, world) = (self.number(names.rank)?, self.number(names.world)?);
        let (rank, world) = match (rank, world) {
            (Some(rank), Some(world)) => (rank, world),
            (Some(_), None) if names.launcher != Launcher::Slurm => {
                return Err(Problem::Incomplete { present: names.rank, missing: names.world });
            }
            (None, Some(_)) => {
                return Err(Problem::Incomplete { present: names.world, missing: names.rank });
            }
            (_, None) => return Ok(None),
        };
        if world > MOST_PROCESSES {
            let expected = format!("at most {MOST_PROCESSES}");
            let value = world.to_string();
            return Err(Problem::Invalid { variable: names.world, expected, value });
        }
        if rank >= world {
            let expected = format!("less than {}, {world}", names.world);
            let value = rank.to_string();
            return Err(Problem::Invalid { variable: names.rank, expected, value });
        }
        Ok(Some(Seat { names, rank, world }))
    }

    fn is_one_machine(&self, seat: &Seat) -> Result<bool, Problem> {
        let all = if seat.names.launcher == Launcher::Slurm { 1 } else { seat.world };
        Ok(self.number(seat.names.extent)? == Some(all))
    }

    fn port(&self) -> Result<u16, Problem> {
        let variable = "MASTER_PORT";
        let Some(value) = self.text(variable) else {
            return Ok(DEFAULT_PORT);
        };
        match value.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => {
                let expected = "a port from 1 to 65535".to_owned();
                Err(Problem::Invalid { variable, expected, value })
            }
        }
    }
}
