//! Places from the variables of launchers.

use distributed::{EnvironmentProblem as Problem, Error, Launcher, Place};

fn place(variables: &str) -> Result<Option<Place>, Problem> {
    let find = |name: &str| {
        let mut pairs = variables.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    Place::of_variables(find).map_err(|error| match error {
        Error::Environment(problem) => problem,
        other => panic!("{other}"),
    })
}

/// Rank 1 of 4 on a machine of its own.
fn expected(launcher: Launcher) -> Place {
    Place {
        rank: 1,
        world: 4,
        local_rank: 1,
        host: "10.0.0.7".to_owned(),
        port: 1234,
        agent_serves_store: false,
        generation: 0,
        interface: None,
        launcher,
    }
}

const MASTER: &str = "MASTER_ADDR=10.0.0.7 MASTER_PORT=1234";
const OPEN_MPI: &str = "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1";
const MPICH: &str = "PMI_RANK=1 PMI_SIZE=4 MPI_LOCALRANKID=1";
const SLURM: &str = "SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=4 SLURM_LOCALID=1";

#[test]
fn each_launcher_is_read() {
    for (variables, launcher) in [
        ("RANK=1 WORLD_SIZE=4 LOCAL_RANK=1 TORCHELASTIC_RUN_ID=none", Launcher::Torchrun),
        ("RANK=1 WORLD_SIZE=4 LOCAL_RANK=1", Launcher::Variables),
        (OPEN_MPI, Launcher::OpenMpi),
        (MPICH, Launcher::Mpich),
        (SLURM, Launcher::Slurm),
    ] {
        let place = place(&format!("{MASTER} {variables}")).unwrap();
        assert_eq!(place, Some(expected(launcher)), "{variables}");
    }
}

#[test]
fn kubeflow_gives_no_local_rank() {
    let place = place(&format!("{MASTER} RANK=1 WORLD_SIZE=4")).unwrap();
    assert_eq!(place, Some(Place { local_rank: 0, ..expected(Launcher::Variables) }));
}

#[test]
fn torchrun_serves_the_store_and_counts_restarts() {
    let torchrun = "RANK=1 WORLD_SIZE=4 LOCAL_RANK=1 TORCHELASTIC_RUN_ID=none \
                    TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RESTART_COUNT=2 \
                    GLOO_SOCKET_IFNAME=eth1";
    let expected = Place {
        agent_serves_store: true,
        generation: 2,
        interface: Some("eth1".to_owned()),
        ..expected(Launcher::Torchrun)
    };
    assert_eq!(place(&format!("{MASTER} {torchrun}")).unwrap(), Some(expected));
}

#[test]
fn inner_launcher_counts() {
    let torchrun = "RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 TORCHELASTIC_RUN_ID=none";
    let in_slurm = place(&format!("{MASTER} {SLURM} {torchrun}")).unwrap().unwrap();
    assert_eq!((in_slurm.rank, in_slurm.world, in_slurm.launcher), (5, 8, Launcher::Torchrun));
    // mpirun starts its daemons with srun, one for each machine.
    let daemon = "SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2 SLURM_LOCALID=0";
    let in_slurm = place(&format!("{MASTER} {daemon} {OPEN_MPI}")).unwrap();
    assert_eq!(in_slurm, Some(expected(Launcher::OpenMpi)));
}

#[test]
fn one_process_needs_no_group() {
    for variables in [
        "",
        MASTER,
        "RANK= WORLD_SIZE=",
        "RANK=0 WORLD_SIZE=1",
        "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1",
        // The shell of sbatch.
        "SLURM_PROCID=0 SLURM_NTASKS=8 SLURM_LOCALID=0",
    ] {
        assert_eq!(place(variables).unwrap(), None, "{variables}");
    }
}

#[test]
fn processes_of_one_machine_need_no_master() {
    for (variables, launcher) in [
        ("RANK=1 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4", Launcher::Variables),
        (&format!("{OPEN_MPI} OMPI_COMM_WORLD_LOCAL_SIZE=4"), Launcher::OpenMpi),
        (&format!("{MPICH} MPI_LOCALNRANKS=4"), Launcher::Mpich),
        (&format!("{SLURM} SLURM_STEP_NUM_NODES=1"), Launcher::Slurm),
    ] {
        let expected = Place { host: "127.0.0.1".to_owned(), port: 29500, ..expected(launcher) };
        assert_eq!(place(variables).unwrap(), Some(expected), "{variables}");
    }
}

#[test]
fn processes_of_several_machines_need_a_master() {
    for variables in [
        "RANK=1 WORLD_SIZE=4".to_owned(),
        format!("{OPEN_MPI} OMPI_COMM_WORLD_LOCAL_SIZE=2"),
        MPICH.to_owned(),
        format!("{SLURM} SLURM_STEP_NUM_NODES=2"),
    ] {
        assert!(
            matches!(place(&variables), Err(Problem::NoMaster { world: 4, .. })),
            "{variables}"
        );
    }
}

#[test]
fn problems_of_the_environment_are_one_sentence() {
    for (variables, sentence) in [
        ("RANK=one WORLD_SIZE=4", "RANK: expected a whole number, got \"one\""),
        ("RANK=4 WORLD_SIZE=4", "RANK: expected less than WORLD_SIZE, 4, got \"4\""),
        ("RANK=0 WORLD_SIZE=0", "RANK: expected less than WORLD_SIZE, 0, got \"0\""),
        ("RANK=0 WORLD_SIZE=99999999", "WORLD_SIZE: expected at most 65536, got \"99999999\""),
        ("RANK=1", "RANK is set, but WORLD_SIZE is not"),
        ("WORLD_SIZE=4", "WORLD_SIZE is set, but RANK is not"),
        ("PMI_RANK=1", "PMI_RANK is set, but PMI_SIZE is not"),
        (
            "RANK=0 WORLD_SIZE=1 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4",
            "RANK and WORLD_SIZE give rank 0 of 1, but Open MPI gives rank 1 of 4",
        ),
        (
            "RANK=1 WORLD_SIZE=4",
            "MASTER_ADDR is not set, expected the address of rank 0's machine, because the \
             environment does not report that all 4 processes are on one machine",
        ),
        (
            "RANK=1 WORLD_SIZE=4 MASTER_ADDR=a MASTER_PORT=0",
            "MASTER_PORT: expected a port from 1 to 65535, got \"0\"",
        ),
        (
            "RANK=1 WORLD_SIZE=4 MASTER_ADDR=a MASTER_PORT=65536",
            "MASTER_PORT: expected a port from 1 to 65535, got \"65536\"",
        ),
        (
            "RANK=1 WORLD_SIZE=4 MASTER_ADDR=a TORCHELASTIC_RESTART_COUNT=-1",
            "TORCHELASTIC_RESTART_COUNT: expected a whole number, got \"-1\"",
        ),
    ] {
        assert_eq!(place(variables).unwrap_err().to_string(), sentence, "{variables}");
    }
}
