use serde_json::{Value, json};

use super::jackson::plain;

#[test]
fn classes_of_jackson_are_left_out_and_lists_of_texts_are_not_taken_for_them() {
    let table: [(Value, Value); 9] = [
        (json!(["java.lang.Long", 5]), json!(5)),
        (
            json!(["java.util.ArrayList", ["a", "b"]]),
            json!(["a", "b"]),
        ),
        (json!(["java.lang.String", "a"]), json!("a")),
        (
            json!({"@class": "x.Y", "a": ["java.util.HashMap", {"@class": "z", "b": 1}]}),
            json!({"a": {"b": 1}}),
        ),
        (
            json!(["[Ljava.lang.String;", ["a"]]),
            json!(["[Ljava.lang.String;", ["a"]]),
        ),
        // What could be a list of permissions is one.
        (
            json!(["com.shop.read", "com.shop.write"]),
            json!(["com.shop.read", "com.shop.write"]),
        ),
        (json!(["orders:read", ["a"]]), json!(["orders:read", ["a"]])),
        (json!(["a", "b", "c"]), json!(["a", "b", "c"])),
        (json!([[], {}]), json!([[], {}])),
    ];
    for (written, meant) in table {
        assert_eq!(plain(written.clone()), meant, "{written}");
    }
}
