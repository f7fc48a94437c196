#![no_main]

libfuzzer_sys::fuzz_target!(
    init: parsers::pass_over_caught_panics(),
    |bytes: &[u8]| parsers::check("tokenizer", bytes)
);
