//! The protocol of a Delta table: its versions, and the features that it lists.
//!
//! It owns what we know of each feature. What contradicts itself is damage; what we cannot honour is for
//! `write_compatibility` to refuse.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    pub min_reader_version: i32,
    pub min_writer_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_features: Option<Vec<String>>,
}

/// The newest protocol: from here on a table lists its features.
const READER_OF_FEATURES: i32 = 3;
const WRITER_OF_FEATURES: i32 = 7;

/// Who must know a feature. Those that concern readers stand in both lists, the others in the writers' only.
#[derive(Clone, Copy, PartialEq)]
enum For {
    Writers,
    Readers,
}

#[derive(Clone, Copy, PartialEq)]
enum Append {
    /// It need not act on the feature; where a property or a column switches it on, `write_compatibility` checks that.
    Passes,
    Refused,
}

struct Feature {
    name: &'static str,
    whose: For,
    append: Append,
}

const fn feature(name: &'static str, whose: For, append: Append) -> Feature {
    Feature { name, whose, append }
}

const FEATURES: [Feature; 24] = [
    feature("appendOnly", For::Writers, Append::Passes),
    feature("invariants", For::Writers, Append::Passes), // columns are checked
    feature("checkConstraints", For::Writers, Append::Passes), // properties are checked
    feature("generatedColumns", For::Writers, Append::Passes), // columns are checked
    feature("identityColumns", For::Writers, Append::Passes), // columns are checked
    feature("columnMapping", For::Readers, Append::Passes), // the property is checked
    feature("changeDataFeed", For::Writers, Append::Passes), // an append needs no change files
    feature("allowColumnDefaults", For::Writers, Append::Passes), // columns are checked
    feature("deletionVectors", For::Readers, Append::Passes),
    feature("domainMetadata", For::Writers, Append::Passes),
    feature("clustering", For::Writers, Append::Passes),
    feature("timestampNtz", For::Readers, Append::Passes), // columns are checked
    feature("vacuumProtocolCheck", For::Readers, Append::Passes),
    feature("v2Checkpoint", For::Readers, Append::Passes), // read, and left for others to write
    feature("inCommitTimestamp", For::Writers, Append::Passes), // the property is checked
    feature("typeWidening", For::Readers, Append::Passes), // older files are not ours to read
    feature("rowTracking", For::Writers, Append::Refused),
    feature("icebergCompatV1", For::Writers, Append::Refused),
    feature("icebergCompatV2", For::Writers, Append::Refused),
    feature("icebergCompatV3", For::Writers, Append::Refused),
    feature("materializePartitionColumns", For::Writers, Append::Refused),
    feature("catalogManaged", For::Readers, Append::Refused),
    feature("variantType", For::Readers, Append::Refused),
    feature("variantShredding", For::Readers, Append::Refused),
];

fn known(listed: &str) -> Option<&'static Feature> {
    let name = listed.trim_end_matches("-preview");
    FEATURES.iter().find(|feature| feature.name == name)
}

impl Protocol {
    /// Why it says nothing that two readers agree on. Some refuse such a log also where a later protocol
    /// overtakes it.
    pub fn contradiction(&self) -> Option<String> {
        let (reader, writer) = (self.min_reader_version, self.min_writer_version);
        if reader < 1 || writer < 1 {
            return Some("protocol versions begin at 1".into());
        }
        let listed = [
            ("reader", reader == READER_OF_FEATURES, self.reader_features.is_some()),
            ("writer", writer == WRITER_OF_FEATURES, self.writer_features.is_some()),
        ];
        if let Some((whose, ..)) = listed.iter().find(|(_, lists, listed)| lists != listed) {
            return Some(format!(
                "protocol reader {reader} / writer {writer} and its list of {whose} features contradict each other"
            ));
        }
        self.features()
            .find(|feature| self.lists_contradict_in(feature))
            .map(|feature| format!("the protocol's lists contradict each other in feature `{feature}`"))
    }

    fn lists_contradict_in(&self, feature: &str) -> bool {
        let is_in = |list: &Option<Vec<String>>| list.iter().flatten().any(|listed| listed == feature);
        let (to_read, to_write) = (is_in(&self.reader_features), is_in(&self.writer_features));
        // Spark has written such tables, and readers accept them.
        let is_tolerated = feature == "columnMapping" && self.min_reader_version > 1;
        // Nobody can say of a feature that he does not know whom it concerns.
        let is_misplaced = known(feature).is_some_and(|known| to_read != (known.whose == For::Readers));
        !to_write || (is_misplaced && !is_tolerated)
    }

    /// Why an append to such a table could be wrong.
    pub fn obstacle(&self) -> Option<String> {
        if self.min_reader_version > READER_OF_FEATURES || self.min_writer_version > WRITER_OF_FEATURES {
            return Some(format!(
                "protocol reader {} / writer {} is newer than this version knows",
                self.min_reader_version, self.min_writer_version
            ));
        }
        self.features()
            .find(|feature| known(feature).is_none_or(|known| known.append == Append::Refused))
            .map(|feature| format!("table feature `{feature}` is not supported"))
    }

    fn features(&self) -> impl Iterator<Item = &String> {
        self.writer_features.iter().chain(&self.reader_features).flatten()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn lists(to_read: &[&str], to_write: &[&str]) -> Protocol {
        let list = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        Protocol {
            min_reader_version: READER_OF_FEATURES,
            min_writer_version: WRITER_OF_FEATURES,
            reader_features: list(to_read),
            writer_features: list(to_write),
        }
    }

    /// A sound protocol with these features.
    pub fn listing(features: &[&str]) -> Protocol {
        let concerns_readers = |name: &&str| known(name).is_some_and(|known| known.whose == For::Readers);
        let to_read: Vec<&str> = features.iter().copied().filter(concerns_readers).collect();
        lists(&to_read, features)
    }

    fn plain(min_reader_version: i32, min_writer_version: i32) -> Protocol {
        Protocol { min_reader_version, min_writer_version, reader_features: None, writer_features: None }
    }

    #[test]
    fn a_protocol_below_the_first_contradicts_itself() {
        for (reader, writer) in [(0, 2), (1, 0), (-1, 1)] {
            let contradiction = plain(reader, writer).contradiction().unwrap();
            assert!(contradiction.contains("begin at 1"), "{contradiction}");
        }
        assert_eq!(plain(1, 1).contradiction(), None);
    }

    /// What a fuzzer found: the kernel does not read such a table at all.
    #[test]
    fn a_protocol_contradicts_itself_where_its_versions_and_lists_do() {
        let sound = lists(&[], &[]);
        assert_eq!(sound.contradiction(), None);
        for wrong in [
            Protocol { reader_features: None, ..sound.clone() },
            Protocol { writer_features: None, ..sound.clone() },
            Protocol { min_reader_version: 1, ..sound.clone() },
            Protocol { min_writer_version: 2, ..sound.clone() },
        ] {
            let contradiction = wrong.contradiction().unwrap();
            assert!(contradiction.contains("contradict each other"), "{contradiction}");
        }
        for (to_read, to_write) in [
            (&[][..], &["deletionVectors"][..]),
            (&["deletionVectors"], &[]),
            (&["appendOnly"], &["appendOnly"]),
            (&["of tomorrow"], &[]),
        ] {
            let contradiction = lists(to_read, to_write).contradiction().unwrap();
            assert!(contradiction.contains("contradict each other in feature"), "{contradiction}");
        }
        for both in [&["deletionVectors"][..], &["typeWidening-preview"], &["of tomorrow"]] {
            assert_eq!(lists(both, both).contradiction(), None);
        }
        assert_eq!(lists(&[], &["columnMapping", "appendOnly", "of tomorrow"]).contradiction(), None);
    }

    #[test]
    fn what_an_append_cannot_honour_is_named() {
        let harmless = ["appendOnly", "invariants", "deletionVectors", "checkConstraints", "columnMapping"];
        assert_eq!(listing(&harmless).obstacle(), None);
        assert!(plain(4, 7).obstacle().unwrap().contains("reader 4 / writer 7 is newer"));
        for feature in ["rowTracking", "icebergCompatV2", "catalogManaged", "variantType", "of tomorrow"] {
            let protocol = listing(&["appendOnly", feature]);
            assert_eq!(protocol.contradiction(), None);
            assert!(protocol.obstacle().unwrap().contains(feature));
        }
    }
}
