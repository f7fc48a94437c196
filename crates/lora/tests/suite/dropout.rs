//! Dropout. Its masks come from libtorch's only generator, which other tests draw from at the
//! same time, so the test runs in a process of its own.

use std::{env, process::Command};

use lora::{Injector, LoraConfig};
use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
use tch::{Device, Kind, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

#[test]
fn dropout_applies_in_training_and_follows_the_seed() {
    let mut child = Command::new(env::current_exe().unwrap());
    let output = child.args(["--ignored", "--exact", "dropout::masks_alone"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "started by the test above"]
fn masks_alone() {
    tch::manual_seed(7);
    let (weight, bias) = (Tensor::randn([7, 5], CPU), Tensor::randn([7], CPU));
    let x = Tensor::ones([400, 5], CPU);
    let base = x.linear(&weight, Some(&bias));
    for (dora, stepwise) in [(false, false), (false, true), (true, false), (true, true)] {
        let config = LoraConfig { rank: 2, alpha: 6.0, dropout: 0.5, dora, ..Default::default() };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut injector = Injector::new(config, &mut rng).unwrap();
        let layer = injector.adapt("fc", &[], &weight, Some(&bias)).unwrap().unwrap();
        let adapter = injector.finish().unwrap();
        let fc = &adapter.layers()[0];
        tch::no_grad(|| fc.b.shallow_clone().copy_(&Tensor::randn([7, 2], CPU)));
        let forward = |seed: i64| {
            tch::manual_seed(seed);
            match stepwise {
                true => layer.f_add_stepwise(&x, base.copy(), 0..7).unwrap().detach(),
                false => layer.f_add_product(&x, base.copy(), 0..7).unwrap().detach(),
            }
        };
        let whole = forward(1);
        assert_eq!(whole, forward(2));
        assert!(!adapter.is_training());
        adapter.set_training(true);
        assert!(adapter.is_training());
        let dropped = forward(1);
        assert_eq!(dropped, forward(1));
        assert_ne!(dropped, forward(2));

        // Dropout doubles each value of x or sets it to zero, which preserves the mean. The base
        // layer has no dropout.
        let product = (fc.b.mm(&fc.a) * 3.0).detach();
        let gain = if dora {
            let length =
                |w: &Tensor| w.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
            (length(&weight) / length(&(&weight + &product))).sqrt()
        } else {
            Tensor::ones([7], CPU)
        };
        for row in [0, 17] {
            let row = dropped.get(row);
            let sums = (0..32u8).map(|mask| {
                let kept: Vec<f32> = (0..5).map(|i| f32::from(mask >> i & 1) * 2.0).collect();
                (weight.mv(&x.get(0)) + product.mv(&Tensor::from_slice(&kept))) * &gain + &bias
            });
            assert!(sums.into_iter().any(|sum| sum.allclose(&row, 1e-4, 1e-4, false)));
        }
        let mean = |y: &Tensor| (y - &base).mean_dim([0i64].as_slice(), false, Kind::Float);
        let spread = (product.norm() * gain.max()).double_value(&[]) / 20.0;
        let off = (mean(&dropped) - mean(&whole)).abs().max().double_value(&[]);
        assert!(off < 5.0 * spread, "{off} {spread}");
        adapter.set_training(false);
        assert_eq!(forward(3), whole);
    }
}
