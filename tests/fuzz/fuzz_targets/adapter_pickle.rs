#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parsers::check("adapter_pickle", bytes));
