use proptest::prelude::*;

use super::*;

fn format(settings: &str) -> RecordFormat {
    RecordFormat::new(&toml::from_str(settings).unwrap())
}

fn decode(record: &str) -> Result<Session, RecordError> {
    let record = format("").decode(record.as_bytes())?;
    Ok(record.session)
}

#[test]
fn whole_record_is_read_with_every_part() {
    let session = decode(
        r#"{"user_id":"u1","permissions":["a","b"],"roles":["r"],"expires_at":1800000000000,
            "device":{"id":"d","type":"phone","name":"Pixel 12"},"unknown":[{"x":null}]}"#,
    );

    let expected = Session {
        user_id: "u1".into(),
        permissions: vec!["a".into(), "b".into()].into(),
        roles: vec!["r".into()].into(),
        device: Device {
            id: "d".into(),
            kind: "phone".into(),
            name: "Pixel 12".into(),
        },
        expires_at: Some(1_800_000_000_000),
        ..Session::default()
    };
    assert_eq!(session, Ok(expected));
}

#[test]
fn parts_may_be_spelled_as_login_services_spell_them() {
    for (record, check) in [
        (r#"{"user_id":42}"#, "42"),
        (r#"{"user_id":-1}"#, "-1"),
        (r#"{"user_id":"a","roles":null,"device":null}"#, "a"),
        (r#"{"user_id":"a","user_id":"b"}"#, "b"),
    ] {
        assert_eq!(decode(record).unwrap().user_id, check, "{record}");
    }
    let list = decode(r#"{"user_id":"a","permissions":"x, y,z  w"}"#).unwrap();
    assert_eq!(*list.permissions, ["x", "y", "z", "w"]);
}

#[test]
fn end_is_seconds_or_milliseconds_by_its_size() {
    for (written, read) in [
        (1_800_000_000_u64, 1_800_000_000_000),
        (99_999_999_999, 99_999_999_999_000),
        (100_000_000_000, 100_000_000_000),
        (1_800_000_000_000, 1_800_000_000_000),
        (0, 0),
    ] {
        let session = decode(&format!(r#"{{"user_id":"a","expires_at":{written}}}"#));
        assert_eq!(session.unwrap().expires_at, Some(read), "{written}");
    }
}

#[test]
fn record_that_cannot_be_understood_is_an_error() {
    for (record, error) in [
        ("", RecordError::NotJson),
        ("{", RecordError::NotJson),
        ("[]", RecordError::NotJson),
        ("\"user_id\"", RecordError::NotJson),
        ("null", RecordError::NotJson),
        (r#"{"user_id":"a"} x"#, RecordError::NotJson),
        ("{}", RecordError::Field("user_id")),
        (r#"{"user_id":""}"#, RecordError::Field("user_id")),
        (r#"{"user_id":null}"#, RecordError::Field("user_id")),
        (r#"{"user_id":1.5}"#, RecordError::Field("user_id")),
        (r#"{"user_id":["a"]}"#, RecordError::Field("user_id")),
        (
            r#"{"user_id":"a","roles":[1]}"#,
            RecordError::Field("roles"),
        ),
        (
            r#"{"user_id":"a","permissions":7}"#,
            RecordError::Field("permissions"),
        ),
        (
            r#"{"user_id":"a","expires_at":"soon"}"#,
            RecordError::Field("expires_at"),
        ),
        (
            r#"{"user_id":"a","expires_at":-1}"#,
            RecordError::Field("expires_at"),
        ),
        (
            r#"{"user_id":"a","device":{"id":{}}}"#,
            RecordError::Field("device.id"),
        ),
        (
            r#"{"user_id":"a","token_sha256":1}"#,
            RecordError::Field("token_sha256"),
        ),
    ] {
        assert_eq!(decode(record), Err(error), "{record}");
    }
    assert_eq!(
        format("").decode(b"{\"user_id\":\"\xff\"}"),
        Err(RecordError::NotJson)
    );
}

#[test]
fn size_is_capped_at_the_very_byte() {
    let format = format("max_record = \"20B\"");

    assert!(format.decode(br#"{"user_id":"abcdef"}"#).is_ok());
    let longer = format.decode(br#"{"user_id":"abcdefg"}"#);
    assert_eq!(longer, Err(RecordError::TooLarge));
}

#[test]
fn depth_is_capped_and_brackets_in_strings_do_not_count() {
    let format = format("max_depth = 3");

    assert!(format.decode(br#"{"user_id":"a","x":[[1],[2]]}"#).is_ok());
    let deeper = format.decode(br#"{"user_id":"a","x":[[[1]]]}"#);
    assert_eq!(deeper, Err(RecordError::TooDeep));
    assert!(format.decode(br#"{"user_id":"[[[[\"[[[["}"#).is_ok());
}

#[test]
fn session_ends_at_its_very_millisecond() {
    let session = Session {
        expires_at: Some(1000),
        ..Session::default()
    };

    assert!(session.is_live(999));
    assert!(!session.is_live(1000));
    assert!(Session::default().is_live(u64::MAX));
}

#[test]
fn fields_lie_where_the_configuration_says() {
    let format =
        format("[fields]\nuser_id = \"sub\"\nroles = \"auth.roles\"\ndevice_id = \"auth.device\"");
    let record = br#"{"user_id":"no","sub":"yes","auth":{"roles":"a b","device":"d"}}"#;

    let session = format.decode(record).unwrap().session;

    assert_eq!(
        (session.user_id.as_str(), session.device.id.as_str()),
        ("yes", "d")
    );
    assert_eq!(*session.roles, ["a", "b"]);
}

#[test]
fn beginning_is_found_under_the_usual_names_or_where_the_configuration_says() {
    let issued = |settings: &str, record: &str| {
        let record = format(settings).decode(record.as_bytes());
        record.map(|record| record.issued_at)
    };
    for (record, at) in [
        (r#"{"user_id":"a"}"#, None),
        (
            r#"{"user_id":"a","iat":1700000000}"#,
            Some(1_700_000_000_000),
        ),
        (
            r#"{"user_id":"a","issued_at":1700000000001}"#,
            Some(1_700_000_000_001),
        ),
        (r#"{"user_id":"a","iat":"yesterday"}"#, None),
        (
            r#"{"user_id":"a","iat":"yesterday","issued_at":1}"#,
            Some(1000),
        ),
    ] {
        assert_eq!(issued("", record), Ok(at), "{record}");
    }
    let named = "[fields]\nissued_at = \"at.begin\"";
    assert_eq!(
        issued(named, r#"{"user_id":"a","iat":1,"at":{"begin":2}}"#),
        Ok(Some(2000))
    );
    assert_eq!(issued(named, r#"{"user_id":"a","iat":1}"#), Ok(None));
    assert_eq!(
        issued(named, r#"{"user_id":"a","at":{"begin":"x"}}"#),
        Err(RecordError::Field("issued_at"))
    );
}

proptest! {
    #[test]
    fn what_we_write_is_what_we_read(
        user in ".{1,20}", permissions in prop::collection::vec(".{0,10}", 0..5),
        name in ".{0,10}", end in prop::option::of(100_000_000_000_u64..),
        nested in any::<bool>(),
    ) {
        let session = Session {
            user_id: user.into(),
            permissions: permissions.into(),
            device: Device { name: name.into(), ..Device::default() },
            expires_at: end,
            ..Session::default()
        };
        let settings = if nested { "[fields]\nuser_id = \"a.b.c\"\npermissions = \"a.d\"" } else { "" };
        let format = format(settings);

        let bytes = format.encode(&session, "digest").unwrap();

        let record = Record { session, digest: Some("digest".to_owned()), issued_at: None };
        prop_assert_eq!(format.decode(&bytes), Ok(record));
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // So few random bytes are no record with a user.
        let answer = format("").decode(&bytes);
        prop_assert!(answer.is_err());
    }
}
