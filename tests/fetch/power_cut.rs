//! Simulated power cuts during a download.

use std::path::Path;

use test_support::power_cut::{Act, Disk, Watch};

use crate::cases::Case;

#[test]
fn final_names_are_given_to_synced_files() {
    for case in Case::all() {
        let watch = Watch::new();
        assert!(watch.on(&mut case.command()).output().unwrap().status.success());
        case.is_complete();
        let root = case.root.path().canonicalize().unwrap();
        let (mut disk, mut named) = (Disk::default(), Vec::new());
        for act in watch.acts() {
            if let Act::Rename(_, old, new) = &act
                && new.starts_with(&root)
            {
                let lost = [disk.loses_bytes_at(old), disk.loses_names_below(old)].concat();
                assert!(lost.is_empty(), "{} is named before there is {lost:?}", new.display());
                named.push(new.clone());
            }
            disk.follow(&act);
        }
        let is_named = |path: &Path| named.iter().any(|name| path.starts_with(name));
        assert!(is_named(&root.join(case.result)), "{named:?}");
        if !case.result.ends_with("SMSSpamCollection") {
            let sums = |name: &std::path::PathBuf| name.ends_with("SHA256SUMS");
            assert!(named.iter().any(sums), "{named:?}");
        }
        assert!(disk.loses_names_below(&root).is_empty(), "{disk:?}");
    }
}
