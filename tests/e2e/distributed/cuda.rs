//! Runs on one GPU. `NCCL_HOSTID` makes every rank a machine of its own for NCCL, which refuses two
//! ranks on a GPU of one machine.

use test_support::{Ranks, assert_same_results, read_jsonl};

use super::{on_pocket, out_of};

#[test]
#[ignore = "needs a CUDA device"]
fn any_number_of_processes_writes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("1");
    for (name, world, transport) in
        [("1", 1, ""), ("2", 2, "NCCL"), ("4", 4, "NCCL"), ("shared", 2, "Gloo")]
    {
        let out = folder.path().join(name);
        let arguments = |rank| on_pocket(&out_of(rank, &out), "--device cuda --lora-dropout 0.1");
        let variables = |rank| match transport {
            "NCCL" => vec![
                ("NCCL_HOSTID", format!("machine {rank}")),
                ("NCCL_SOCKET_IFNAME", "lo".to_owned()),
                ("NCCL_IB_DISABLE", "1".to_owned()),
            ],
            _ => Vec::new(),
        };
        let ended = Ranks::start_with("trainer", world, arguments, variables).wait_for_all();
        for rank in &ended {
            assert!(rank.status.success(), "{}", rank.stderr);
        }
        let notice = format!("gradients travel by {transport}");
        assert!(world == 1 || ended[0].stderr.contains(&notice), "{}", ended[0].stderr);
        assert_same_results(&one, &out);
    }
    let events = read_jsonl(&one.join("metrics.jsonl"));
    assert!(events.iter().filter(|event| event["event"] == "step").count() >= 3);
}
