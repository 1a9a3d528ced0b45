//! Any text as a statement: each token is a part of it, after the one before.
#![no_main]

libfuzzer_sys::fuzz_target!(|sql: &str| {
    for tokens in sluice_fuzz::database::tokens(sql).into_iter().flatten() {
        let mut end = 0;
        assert!(!tokens.is_empty());
        for token in tokens {
            assert!(end <= token.start && token.start < token.end, "{token:?} after {end}");
            assert!(sql.get(token.clone()).is_some(), "{token:?} is no part of the text");
            end = token.end;
        }
    }
});
