#![no_main]

// The library that decodes Parquet panics on some damaged pages, which the reader
// catches: a panic alone is no finding here. One that is not caught still is.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| ())),
    |bytes: &[u8]| parsers::check("table_parquet", bytes)
);
