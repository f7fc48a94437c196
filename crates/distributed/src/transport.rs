//! Transport of tensors: Gloo, NCCL, or the memory of the CPU on the way from one GPU to another.

use std::{collections::BTreeMap, fmt};

use crate::error::named;

/// Transport of a tensor between the ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// A single process: nothing travels.
    Alone,
    /// Gloo, for tensors on the CPU.
    Gloo,
    /// Gloo, for tensors on a GPU, which are copied to the CPU and back.
    GlooWithCopies(NoNccl),
    /// NCCL, between GPUs.
    Nccl,
}

/// Reason why tensors on a GPU do not travel by NCCL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoNccl {
    /// The program of these ranks was built without NCCL.
    NotBuilt {
        /// The ranks.
        ranks: Vec<usize>,
    },
    /// These ranks use one GPU, which NCCL refuses.
    SharedGpu {
        /// The ranks.
        ranks: Vec<usize>,
    },
    /// The tensors of these ranks are not on a GPU.
    OnCpu {
        /// The ranks.
        ranks: Vec<usize>,
    },
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => f.write_str("no network"),
            Self::Gloo => f.write_str("Gloo"),
            Self::GlooWithCopies(reason) => write!(f, "Gloo and not by NCCL, because {reason}"),
            Self::Nccl => f.write_str("NCCL"),
        }
    }
}

impl fmt::Display for NoNccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt { ranks } => {
                write!(f, "the program of {} was built without it", named(ranks))
            }
            Self::SharedGpu { ranks } => write!(f, "{} share a GPU", named(ranks)),
            Self::OnCpu { ranks } => write!(f, "the tensors of {} are on the CPU", named(ranks)),
        }
    }
}

/// Possibilities of a rank, as it reports them to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// The tensor is on the CPU.
    Cpu,
    /// The program was built without NCCL.
    NoNccl,
    /// A GPU, by a name that is different for each GPU of the group.
    Gpu(String),
}

impl Offer {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Cpu => b"cpu".to_vec(),
            Self::NoNccl => b"gpu".to_vec(),
            Self::Gpu(name) => format!("gpu {name}").into_bytes(),
        }
    }

    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        match text.split_once(' ') {
            Some((_, name)) => Self::Gpu(name.to_owned()),
            None if text == "cpu" => Self::Cpu,
            None => Self::NoNccl,
        }
    }
}

impl Transport {
    /// Returns the transport that is possible for all ranks.
    pub(crate) fn choose(offers: &[Offer]) -> Self {
        let ranks_with = |wanted: fn(&Offer) -> bool| -> Vec<usize> {
            (0..offers.len()).filter(|&rank| wanted(&offers[rank])).collect()
        };
        let on_cpu = ranks_with(|offer| *offer == Offer::Cpu);
        let not_built = ranks_with(|offer| *offer == Offer::NoNccl);
        let mut by_gpu: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (rank, offer) in offers.iter().enumerate() {
            if let Offer::Gpu(name) = offer {
                by_gpu.entry(name).or_default().push(rank);
            }
        }
        let shared = by_gpu.into_values().find(|ranks| ranks.len() > 1);
        if on_cpu.len() == offers.len() {
            Self::Gloo
        } else if !on_cpu.is_empty() {
            Self::GlooWithCopies(NoNccl::OnCpu { ranks: on_cpu })
        } else if !not_built.is_empty() {
            Self::GlooWithCopies(NoNccl::NotBuilt { ranks: not_built })
        } else if let Some(ranks) = shared {
            Self::GlooWithCopies(NoNccl::SharedGpu { ranks })
        } else {
            Self::Nccl
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chooses for offers as they travel: `cpu`, `gpu` without NCCL, or `gpu` with a name.
    fn chosen(offers: &[&str]) -> String {
        let offers: Vec<Offer> = offers.iter().map(|text| Offer::parse(text.as_bytes())).collect();
        let copies: Vec<Offer> = offers.iter().map(|offer| Offer::parse(&offer.bytes())).collect();
        assert_eq!(offers, copies);
        Transport::choose(&offers).to_string()
    }

    #[test]
    fn nccl_needs_a_gpu_for_each_rank() {
        for (offers, expected) in [
            (&["cpu", "cpu"][..], "Gloo"),
            (&["gpu a 0", "gpu a 1", "gpu b 0"], "NCCL"),
            (
                &["gpu a 0", "gpu a 1", "gpu b 0", "gpu a 1", "gpu a 1"],
                "Gloo and not by NCCL, because ranks 1, 3, 4 share a GPU",
            ),
            (
                &["gpu a 0", "gpu", "gpu a 0"],
                "Gloo and not by NCCL, because the program of rank 1 was built without it",
            ),
            (
                &["gpu", "gpu a 0", "cpu"],
                "Gloo and not by NCCL, because the tensors of rank 2 are on the CPU",
            ),
        ] {
            assert_eq!(chosen(offers), expected, "{offers:?}");
        }
    }
}
