use std::time::Duration;

use super::*;

const KEY: &[u8] = b"login:token:a";
const OTHER: &[u8] = b"login:token:b";

fn heard() -> Changes {
    let changes = Changes::whole();
    changes.hear([0]);
    changes
}

fn judge(changes: &Changes, basis: &Basis) -> Worth {
    changes.judge(basis, Uptime::now())
}

/// One part for each last byte of a key.
fn by_last_byte() -> Changes {
    Changes::new(256, |key| key.last().map_or(0, |byte| usize::from(*byte)))
}

#[test]
fn change_after_the_question_makes_it_void_wherever_the_answer_is() {
    let changes = heard();
    let basis = changes.basis([KEY]);
    assert_eq!(judge(&changes, &basis), Worth::Firm);

    changes.change(OTHER);
    assert_eq!(judge(&changes, &basis), Worth::Firm);
    changes.change(KEY);

    assert_eq!(judge(&changes, &basis), Worth::Void);
    assert_eq!(judge(&changes, &changes.basis([KEY])), Worth::Firm);
}

#[test]
fn change_before_the_question_does_not_count() {
    let changes = heard();
    changes.change(KEY);

    let basis = changes.basis([KEY]);

    assert_eq!(judge(&changes, &basis), Worth::Firm);
}

#[test]
fn what_was_read_before_anything_could_be_heard_stays_doubted() {
    let changes = Changes::whole();
    let early = changes.basis([KEY]);
    assert_eq!(judge(&changes, &early), Worth::Doubted);

    changes.hear([0]);

    assert_eq!(judge(&changes, &early), Worth::Doubted);
    assert_eq!(judge(&changes, &changes.basis([KEY])), Worth::Firm);
}

#[test]
fn loss_and_return_of_the_link_each_cast_doubt_and_a_change_is_still_a_change() {
    let changes = heard();
    let basis = changes.basis([KEY]);

    changes.lose([0]);
    assert_eq!(judge(&changes, &basis), Worth::Doubted);
    assert!(!changes.hears(0));
    changes.hear([0]);
    assert_eq!(judge(&changes, &basis), Worth::Doubted);
    assert!(changes.hears_all());
    let fresh = changes.basis([KEY]);
    changes.hear([0]);
    assert_eq!(
        judge(&changes, &fresh),
        Worth::Doubted,
        "a new link, unseen breaks"
    );
    changes.change(KEY);

    assert_eq!(judge(&changes, &basis), Worth::Void);
    assert_eq!(changes.tally().doubts.load(Ordering::Relaxed), 1);
}

#[test]
fn emptied_server_makes_everything_void_for_good() {
    let changes = heard();
    let basis = changes.basis([KEY]);
    changes.lose([0]);
    let deaf = changes.basis([KEY]);

    changes.empty([0]);
    changes.hear([0]);

    assert_eq!(judge(&changes, &basis), Worth::Void);
    assert_eq!(judge(&changes, &deaf), Worth::Void);
    assert_eq!(judge(&changes, &changes.basis([KEY])), Worth::Firm);
}

#[test]
fn parts_are_doubted_by_themselves() {
    let changes = by_last_byte();
    changes.hear(0..256);
    let (a, b) = (changes.basis([KEY]), changes.basis([OTHER]));
    let both = a.and(b);

    changes.lose([usize::from(b'b')]);

    assert_eq!(judge(&changes, &a), Worth::Firm);
    assert_eq!(judge(&changes, &b), Worth::Doubted);
    assert_eq!(judge(&changes, &both), Worth::Doubted);
    assert!(!changes.hears_all());
}

#[test]
fn verdict_on_two_questions_is_as_old_as_the_first_and_as_good_as_the_worse() {
    let changes = heard();
    let first = changes.basis([KEY]);
    changes.change(KEY);
    let second = changes.basis([OTHER]);
    let both = second.and(first);

    assert_eq!(both.sent_at(), first.sent_at());
    assert_eq!(judge(&changes, &both), Worth::Void);
}

#[test]
fn without_proof_of_the_master_nothing_is_worth_anything() {
    let changes = heard();
    let basis = changes.basis([KEY]);
    let now = Uptime::now();

    changes.prove(now.plus(Duration::from_secs(1)));
    assert_eq!(changes.judge(&basis, now), Worth::Firm);

    let late = now.plus(Duration::from_secs(1));
    assert_eq!(changes.judge(&basis, late), Worth::Void);
    changes.prove(late.plus(Duration::from_secs(1)));
    assert_eq!(changes.judge(&basis, late), Worth::Firm);
}

#[tokio::test]
async fn watch_hears_of_its_own_keys_and_of_everything() {
    let changes = heard();
    let watch = changes.watch(&changes.basis([KEY]));

    changes.change(OTHER);
    let quiet = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
    assert!(quiet.is_err());

    changes.change(KEY);
    watch.changed().await;
    changes.empty([0]);
    watch.changed().await;
    drop(watch);

    assert!(changes.watches.is_empty());
}

#[test]
fn without_a_lease_nothing_that_is_remembered_is_worth_anything() {
    let changes = heard();
    let basis = changes.basis([KEY]);
    let now = Uptime::now();
    changes.lease(now.plus(Duration::from_secs(1)));
    assert_eq!(changes.judge(&basis, now), Worth::Firm);
    let late = now.plus(Duration::from_secs(1));
    assert_eq!(changes.judge(&basis, late), Worth::Void);
    assert!(changes.is_proven(late), "the store may still be asked");
}
