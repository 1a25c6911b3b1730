//! Overrides: each kind by itself, then any of them against what a run makes of the table.

use proptest::prelude::*;

use super::*;

fn id(text: &str) -> TopicId {
    TopicId(text.into())
}

fn marks(low: i64, end: i64) -> Watermarks {
    Watermarks { low: Offset(low), end: Offset(end), first_run: Offset(low) }
}

/// A table `orders` of topic `t`.
#[derive(Debug)]
struct World {
    topic_id: TopicId,
    table: TableFacts,
    rows_end: Option<BTreeMap<Partition, Offset>>,
    watermarks: BTreeMap<Partition, Watermarks>,
}

impl World {
    fn new(topic_id: &str, txns: &[(&str, i64)], watermarks: &[Watermarks]) -> World {
        World {
            topic_id: id(topic_id),
            table: TableFacts {
                txns: txns.iter().map(|&(name, version)| (name.to_owned(), version)).collect(),
                may_hold_our_rows: !txns.is_empty(),
            },
            rows_end: None,
            watermarks: (0..).map(Partition).zip(watermarks.iter().copied()).collect(),
        }
    }

    fn decide(&self, to: To, adopt: bool) -> Result<Decision> {
        let facts = Facts {
            table_id: "orders",
            topic: "t",
            topic_id: &self.topic_id,
            table: &self.table,
            rows_end: self.rows_end.as_ref(),
            watermarks: &self.watermarks,
        };
        decide(&facts, &Wish { to, adopt })
    }

    fn apply(&mut self, decision: &Decision) {
        self.table.txns.extend(decision.txns.clone());
    }

    /// Where a run goes on.
    fn starts(&self) -> Result<BTreeMap<Partition, Offset>> {
        let plan = anchor::plan("orders", "t", &self.topic_id, &self.table, &self.watermarks)?;
        Ok(plan.starts.into_iter().map(|(source, offset)| (source.partition, offset)).collect())
    }
}

fn there(offsets: &[(i32, i64)]) -> To {
    To::Offsets(offsets.iter().map(|&(partition, offset)| (Partition(partition), Offset(offset))).collect())
}

fn txns(decision: &Decision) -> Vec<(&str, i64)> {
    decision.txns.iter().map(|(name, &version)| (name.as_str(), version)).collect()
}

const BOTH: Consent = Consent { loss: true, duplicates: true };

#[test]
fn a_move_forward_gives_offsets_up_and_must_be_meant() {
    let world =
        World::new("A", &[("thalweg/orders/t/A/0", 20), ("thalweg/orders/t/A/1", 7)], &[marks(0, 50); 2]);
    let decision = world.decide(there(&[(0, 30)]), false).unwrap();
    assert_eq!(txns(&decision), [("thalweg/gap/orders/t/A/0/20-30", 1), ("thalweg/orders/t/A/0", 30)]);
    assert_eq!((decision.offsets_given_up(), decision.offsets_again()), (10, 0));
    let refused = decision.permit(Consent { duplicates: true, loss: false }).unwrap_err();
    assert!(refused.remedy.unwrap().contains("`--accept-loss`"));
    assert_eq!(refused.message, "10 offsets would never be read: t [0] 20..30");
    decision.permit(Consent { loss: true, duplicates: false }).unwrap();
}

#[test]
fn a_move_back_doubles_rows_and_must_be_meant() {
    let mut world = World::new("A", &[("thalweg/orders/t/A/0", 20)], &[marks(0, 50)]);
    let decision = world.decide(there(&[(0, 5)]), false).unwrap();
    assert_eq!(txns(&decision), [("thalweg/gap/orders/t/A/0/20-5", 1), ("thalweg/orders/t/A/0", 5)]);
    assert_eq!(decision.needs(Consent { loss: true, duplicates: false }), ["--accept-duplicates"]);
    decision.permit(BOTH).unwrap();
    // The same override again is counted.
    world.apply(&decision);
    world.table.txns.insert("thalweg/orders/t/A/0".into(), 20);
    let again = world.decide(there(&[(0, 5)]), false).unwrap();
    assert_eq!(again.txns["thalweg/gap/orders/t/A/0/20-5"], 2);
}

#[test]
fn a_move_back_remembers_every_place_of_dead_letters() {
    let entries = [
        ("thalweg/orders/t/A/0", 20),
        ("thalweg-dlq-at/orders/s3://b/before", 4),
        ("thalweg-dlq-at/orders/s3://b/now", 7),
        ("thalweg-dlq-at/returns/s3://b/other", 2),
    ];
    let world = World::new("A", &entries, &[marks(0, 50)]);
    let of_dead_letters = |to: i64| {
        let mut all = world.decide(there(&[(0, to)]), false).unwrap().txns;
        all.retain(|name, _| name.starts_with("thalweg-dlq-at/"));
        all
    };
    assert_eq!(of_dead_letters(5), BTreeMap::from([("thalweg-dlq-at/orders/s3://b/before".to_owned(), 5)]));
    assert_eq!(of_dead_letters(30), BTreeMap::new());
}

#[test]
fn a_partition_that_nobody_has_begun_loses_what_lies_before_its_new_beginning() {
    let mut world = World::new("A", &[("thalweg/orders/t/A/0", 20)], &[marks(0, 50), marks(4, 50)]);
    let decision = world.decide(there(&[(1, 9)]), false).unwrap();
    assert_eq!(txns(&decision), [("thalweg/gap/orders/t/A/1/4-9", 1), ("thalweg/orders/t/A/1", 9)]);
    assert_eq!(decision.needs(Consent::default()), ["--accept-loss"]);
    world.apply(&decision);
    assert_eq!(world.starts().unwrap()[&Partition(1)], Offset(9));
    let whole = World::new("A", &[("thalweg/orders/t/A/0", 20)], &[marks(0, 50), marks(4, 50)]);
    let decision = whole.decide(there(&[(1, 4)]), false).unwrap();
    assert_eq!((txns(&decision), decision.moves[0].from), (vec![("thalweg/orders/t/A/1", 4)], None));
}

#[test]
fn a_refusal_names_the_ranges_and_not_all_of_a_thousand() {
    let names: Vec<String> = (0..1000).map(|number| format!("thalweg/orders/t/A/{number}")).collect();
    let known: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 20)).collect();
    let world = World::new("A", &known, &[marks(0, 50); 1000]);
    let to = |offset: i64| there(&(0..1000).map(|number| (number, offset)).collect::<Vec<_>>());
    let refused = world.decide(to(5), false).unwrap().permit(Consent::default()).unwrap_err();
    assert!(refused.message.starts_with("15000 offsets would be read again"), "{refused}");
    assert!(refused.message.ends_with("t [7] 5..20 and 992 more"), "{refused}");
}

#[test]
fn what_stands_there_already_is_not_moved() {
    let world = World::new("A", &[("thalweg/orders/t/A/0", 20)], &[marks(0, 50)]);
    for to in [there(&[(0, 20)]), To::Stay, To::PastLost] {
        assert_eq!(world.decide(to, false).unwrap(), Decision::default());
    }
}

#[test]
fn only_offsets_that_retention_took_are_passed() {
    let known = [("thalweg/orders/t/A/0", 20), ("thalweg/orders/t/A/1", 20), ("thalweg/orders/t/A/2", 99)];
    let world = World::new("A", &known, &[marks(25, 50), marks(20, 50), marks(0, 50), marks(3, 50)]);
    let decision = world.decide(To::PastLost, false).unwrap();
    assert_eq!(txns(&decision), [("thalweg/gap/orders/t/A/0/20-25", 1), ("thalweg/orders/t/A/0", 25)]);
}

#[test]
fn an_offset_that_the_log_has_not_is_refused() {
    let world = World::new("A", &[("thalweg/orders/t/A/0", 20)], &[marks(10, 50)]);
    for to in [there(&[(0, 9)]), there(&[(0, 51)]), there(&[(1, 20)])] {
        assert_eq!(world.decide(to, false).unwrap_err().kind, ErrorKind::Usage);
    }
}

#[test]
fn without_adopt_what_a_run_refuses_is_refused_in_its_words() {
    for (topic_id, known) in [("A", "thalweg/returns/t/A/0"), ("B", "thalweg/orders/t/A/0")] {
        let world = World::new(topic_id, &[(known, 20)], &[marks(0, 50)]);
        let refused = world.decide(there(&[(0, 20)]), false).unwrap_err();
        assert_eq!(refused.message, world.starts().unwrap_err().message);
        assert_eq!(refused.kind, ErrorKind::Disagree);
    }
}

#[test]
fn a_changed_table_id_goes_on_where_the_other_stood_and_the_other_stays_stopped() {
    let mut world = World::new("A", &[("thalweg/returns/t/A/0", 20)], &[marks(0, 50), marks(3, 9)]);
    let decision = world.decide(To::Stay, true).unwrap();
    assert_eq!(
        txns(&decision),
        [
            ("thalweg/adopt/orders/t/A/returns/A", 1),
            ("thalweg/orders/t/A/0", 20),
            ("thalweg/orders/t/A/1", 3)
        ]
    );
    decision.permit(Consent::default()).unwrap();
    world.apply(&decision);
    assert_eq!(world.starts().unwrap(), [(Partition(0), Offset(20)), (Partition(1), Offset(3))].into());
    let former = anchor::plan("returns", "t", &id("A"), &world.table, &world.watermarks).unwrap_err();
    assert!(former.message.contains("handed over"), "{former}");
    assert_eq!(world.decide(To::Stay, true).unwrap_err().kind, ErrorKind::Usage);
}

#[test]
fn a_topic_that_was_created_again_is_adopted_from_its_beginning() {
    let mut world = World::new("B", &[("thalweg/orders/t/A/0", 20)], &[marks(2, 9)]);
    let decision = world.decide(To::Stay, true).unwrap();
    assert_eq!(txns(&decision), [("thalweg/adopt/orders/t/B/orders/A", 1), ("thalweg/orders/t/B/0", 2)]);
    assert_eq!(decision.moves[0].from, None);
    world.apply(&decision);
    assert_eq!(world.starts().unwrap(), [(Partition(0), Offset(2))].into());
}

#[test]
fn a_clone_goes_on_behind_its_rows() {
    let mut world = World::new("A", &[], &[marks(0, 50), marks(4, 50)]);
    world.table.may_hold_our_rows = true;
    assert!(world.starts().is_err());
    world.rows_end = Some([(Partition(0), Offset(17))].into());
    let decision = world.decide(To::Stay, true).unwrap();
    assert_eq!(
        txns(&decision),
        [("thalweg/adopt/orders/t/A/-/-", 1), ("thalweg/orders/t/A/0", 17), ("thalweg/orders/t/A/1", 4)]
    );
    world.apply(&decision);
    assert_eq!(world.starts().unwrap()[&Partition(0)], Offset(17));
}

#[test]
fn adopted_offsets_that_the_log_has_not_need_a_place_to_go_on() {
    let world = World::new("A", &[("thalweg/returns/t/A/0", 20)], &[marks(30, 50)]);
    assert_eq!(world.decide(To::Stay, true).unwrap_err().kind, ErrorKind::Disagree);
    let decision = world.decide(there(&[(0, 30)]), true).unwrap();
    assert_eq!(decision.txns["thalweg/gap/orders/t/A/0/20-30"], 1);
    assert_eq!(decision.needs(Consent::default()), ["--accept-loss"]);
}

#[test]
fn offsets_without_a_topic_id_that_went_on_under_one_are_not_adopted() {
    let known = [("thalweg/orders/t/-/0", 20), ("thalweg/orders/t/A/0", 5000)];
    let again = World::new("B", &known, &[marks(0, 50)]);
    assert_eq!(again.decide(To::Stay, true).unwrap().txns["thalweg/orders/t/B/0"], 0);
    let same = World::new("A", &known, &[marks(0, 6000)]);
    assert_eq!(same.decide(To::Stay, true).unwrap_err().kind, ErrorKind::Usage);
    let known = [("thalweg/returns/t/-/0", 20), ("thalweg/returns/t/A/0", 5000)];
    let renamed = World::new("A", &known, &[marks(0, 6000)]);
    assert_eq!(renamed.decide(To::Stay, true).unwrap().txns["thalweg/orders/t/A/0"], 5000);
}

#[test]
fn whoever_goes_on_stays_where_it_is_when_it_adopts_another_topic() {
    let known = [("thalweg/orders/t/A/0", 7), ("thalweg/orders/t/B/0", 20)];
    let world = World::new("B", &known, &[marks(1, 50)]);
    let decision = world.decide(To::Stay, true).unwrap();
    assert_eq!((decision.moves[0].from, decision.moves[0].to), (Some(Offset(20)), Offset(20)));
    let known = [("thalweg/orders/t/A/0", 7), ("thalweg/returns/t/A/0", 20)];
    let both = World::new("A", &known, &[marks(1, 50)]).decide(To::Stay, true).unwrap_err();
    assert!(both.message.contains("both write"), "{both}");
}

#[test]
fn two_that_write_the_same_log_are_not_guessed_between() {
    let known = [("thalweg/returns/t/A/0", 20), ("thalweg/other/t/A/0", 30)];
    let world = World::new("A", &known, &[marks(0, 50)]);
    assert!(world.decide(To::Stay, true).unwrap_err().message.contains("both write"));
}

#[test]
fn offsets_without_a_topic_id_are_moved_under_the_id_that_the_broker_tells() {
    let world = World::new("A", &[("thalweg/orders/t/-/0", 20)], &[marks(0, 50)]);
    let decision = world.decide(there(&[(0, 30)]), false).unwrap();
    assert_eq!(txns(&decision), [("thalweg/gap/orders/t/A/0/20-30", 1), ("thalweg/orders/t/A/0", 30)]);
    let silent = World::new("-", &[("thalweg/orders/t/A/0", 20)], &[marks(0, 50)]);
    assert!(silent.decide(there(&[(0, 30)]), false).unwrap().txns.contains_key("thalweg/orders/t/A/0"));
}

fn watermarks() -> impl Strategy<Value = Watermarks> {
    (0..40i64, 0..40i64).prop_map(|(low, length)| marks(low, low + length))
}

fn worlds() -> impl Strategy<Value = World> {
    let name =
        (prop::sample::select(vec!["orders", "returns"]), prop::sample::select(vec!["A", "B", "-"]), 0..3i32);
    let txns = prop::collection::btree_map(name, 0..90i64, 0..6);
    let marks = prop::collection::vec(watermarks(), 1..4);
    let rows = prop::collection::btree_map(0..3i32, 0..90i64, 0..3);
    (prop::sample::select(vec!["A", "B", "-"]), txns, marks, rows).prop_map(
        |(topic_id, txns, marks, rows)| {
            let mut world = World::new(topic_id, &[], &marks);
            for ((table_id, topic_id, partition), next) in txns {
                world.table.txns.insert(format!("thalweg/{table_id}/t/{topic_id}/{partition}"), next);
            }
            world.table.may_hold_our_rows = !rows.is_empty();
            world.rows_end = (!rows.is_empty())
                .then(|| rows.into_iter().map(|(number, end)| (Partition(number), Offset(end))).collect());
            world
        },
    )
}

fn wishes() -> impl Strategy<Value = (To, bool)> {
    let offsets =
        prop::collection::btree_map((0..3i32).prop_map(Partition), (0..80i64).prop_map(Offset), 0..3);
    (prop_oneof![offsets.prop_map(To::Offsets), Just(To::Stay), Just(To::PastLost)], any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn a_run_goes_on_where_the_last_move_said((mut world, wishes) in (worlds(), prop::collection::vec(wishes(), 1..4))) {
        for (to, adopt) in wishes {
            let before = world.table.txns.clone();
            let Ok(decision) = world.decide(to.clone(), adopt) else { continue };
            world.apply(&decision);
            // What was not moved stands where it stood, and counts only rise.
            for (name, version) in &before {
                let is_moved = decision.moves.iter().any(|one| AppId::new("orders", one.source.clone()).to_string() == *name);
                let now = world.table.txns[name];
                prop_assert!(now == *version || is_moved || (AppId::parse(name).is_none() && now > *version));
            }
            // Each override says where it came from and where it went.
            for one in &decision.moves {
                let offset_overrides: Vec<OffsetOverride> = decision.txns.keys().filter_map(|name| OffsetOverride::parse(name)).collect();
                let own: Vec<&OffsetOverride> = offset_overrides.iter().filter(|offset_override| offset_override.id.source == one.source).collect();
                match one.from.filter(|from| *from != one.to) {
                    None => prop_assert!(own.is_empty()),
                    Some(from) => prop_assert!(own.len() == 1 && (own[0].from, own[0].to) == (from, one.to)),
                }
            }
            // Without consent nothing is skipped and nothing is read twice.
            if decision.permit(Consent::default()).is_ok() {
                let told = |name: &String| AppId::parse(name).is_some_and(|id| id.table_id == "orders" && id.source.topic_id == world.topic_id);
                prop_assert!(before.iter().all(|(name, at)| world.topic_id.is_unknown() || !told(name) || world.table.txns[name] == *at));
                prop_assert!(decision.moves.iter().all(|one| one.from.is_none_or(|from| from == one.to)));
            }
            // A run agrees, and a second look finds nothing to do.
            if !decision.txns.is_empty() {
                let starts = world.starts().unwrap();
                for one in &decision.moves {
                    prop_assert_eq!(starts.get(&one.source.partition), Some(&one.to));
                }
            }
            if !adopt {
                prop_assert!(world.decide(to, false).unwrap().txns.is_empty());
            }
        }
    }
}
