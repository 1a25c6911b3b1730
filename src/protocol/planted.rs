//! Bugs that can be planted, so that the simulation's oracles are put to the test themselves.
//!
//! It owns the list and the switch. Each bug is a real change of the code that it names: one rule of
//! the commit that is not kept. What is not caught by the oracles is a hole in them.
//!
//! Architecture invariant: a program that is shipped has none of these. Without the feature `planted`
//! the question is the constant `false`, and what stands behind it is compiled away; with it a build
//! without debug assertions fails.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("the feature `planted` is for tests of the simulation: it must not be in a release build");

macro_rules! bugs {
    ($($(#[$what:meta])* $name:ident,)+) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Bug { $($(#[$what])* $name,)+ }

        #[cfg(feature = "planted")]
        pub const ALL: &[Bug] = &[$(Bug::$name,)+];
    };
}

bugs! {
    // ---- which records a range settles
    /// The record after the last one is settled, too.
    RangeEndsTooLate,
    /// The last record of a range is settled by the next one.
    RangeEndsTooEarly,
    /// Records from before a seek are taken.
    TakesWhatWasDeliveredBefore,
    /// The end of a partition does not move its position: a range ends at its last record.
    IgnoresTheEndOfAPartition,
    /// A skipped record is counted as a row.
    CountsSkippedAsRows,
    /// A record that needs a schema first is passed.
    PassesWhatNeedsASchema,
    /// What was read of a record before it needed a schema stays.
    KeepsRowsThatNeedASchema,

    // ---- where a partition begins
    /// Reading begins before the start of a partition is committed.
    NoAnchor,
    /// A new partition of a known topic begins where the config's first run does.
    NewPartitionBeginsAtLatest,
    /// Offsets that retention deleted are passed over.
    PassesWhatRetentionTook,
    /// The topic's end is asked for before the table is loaded.
    AsksForTheEndFirst,
    /// What seems out of reach is not looked at again: another instance may have read on meanwhile.
    StopsOnAnOldLook,
    /// A topic that was created again is read on at the old offsets after a start.
    NoTopicIdAtStart,
    /// What was fetched is committed without a look at the topic's id.
    NoTopicIdBeforeCommit,
    /// Where the broker told no id at the start, the one that the table knows is not compared.
    ForgetsTheTablesTopicId,

    // ---- one commit
    /// Finished work is committed whether it chains or not.
    NoTxnCompare,
    /// A put without an answer is taken for a commit.
    UnclearIsWon,
    /// A version that is taken is taken for our commit.
    ExistsIsWon,
    /// Our own commit, found after a lost answer, is taken for another's.
    OwnCommitIsAnothers,
    /// After a put without an answer the same bytes are put at the next version.
    SameBytesAtAnotherVersion,
    /// Between two tries of one put its bytes change.
    OtherBytesAtTheSameVersion,
    /// Files are deleted when it is unknown whether their commit landed.
    DeletesFilesOfAnUnknownCommit,
    /// A commit names a file before the store has it.
    CommitsBeforeTheUploadEnds,
    /// Files that a vacuum may have removed are committed.
    CommitsFilesOfAnyAge,
    /// A put without an outcome is repeated, however old the files that it names are by now.
    PutsAgainHoweverLate,
    /// The tip of the log is believed however long ago it was seen.
    TrustsTheTipForEver,
    /// The tip of a log that took days to be read is believed as if it had been seen now.
    TrustsALookThatTookLong,
    /// A version that is cleaned up while the log is followed is taken for one that is free.
    TakesCleanedUpForFree,
    /// A put that took days counts, although its version may have been another's and cleaned up since.
    BelievesALateCommit,
    /// A store that does not answer makes a checkpoint count as damaged.
    TakesSilenceForDamage,
    /// A log that is cleaned up while it is read counts as damaged.
    TakesCleanUpForDamage,

    // ---- another writer
    /// Another commit that moved our offsets does not stop ours.
    IgnoresAFence,
    /// Partitions that went over to another topic id are fought for.
    IgnoresAIdentityTransfer,
    /// Who looks at a table anew does not see that its partitions went over to a topic id.
    BeginsAgainAfterAIdentityTransfer,
    /// A commit with actions that nobody knows is taken for harmless.
    IgnoresUnknownActions,
    /// A table that was put back is written on.
    IgnoresARestore,
    /// A table that was put back is opened.
    OpensARestoredTable,
    /// A table that was put back is not noticed by who looks at it anew.
    BeginsAgainAfterARestore,
    /// Files are committed whatever became of the schema.
    IgnoresASchemaChange,

    // ---- beginning again
    /// A shard keeps its open file over a reset.
    KeepsBuffersOverAReset,
    /// A shard reads on where it is after a reset.
    KeepsThePositionOverAReset,
    /// The committer takes work from before a reset.
    TakesWorkFromBeforeAReset,
    /// Work that waits in the ledger outlives a reset.
    LedgerOutlivesAReset,
    /// The last shard does not hear of a reset.
    ResetMissesAShard,

    // ---- several tables in one process
    /// A table of which too much is in flight keeps the others from being read.
    FullTableStopsAll,
    /// A table that was paused is not read again.
    PausesForEver,
    /// A table that was paused is read on behind what came first in the pause.
    SkipsWhatCameInAPause,
    /// With a full table all are paused, and only that one is read again.
    PausesTheOthersToo,
    /// Of a table that was paused one partition is read again.
    ResumesOnePartition,
    /// A partition that comes to a paused table is read.
    ReadsOnInAPause,
    /// What a stopped table has in flight still counts.
    StoppedTableCountsItsWork,
    /// A table that stops takes the open files of the others with it.
    StopForgetsAnothersFiles,

    // ---- a partition moves between shards
    /// What was read and is not in a file is forgotten when a partition goes.
    ForgetsBuffersOnAMove,
    /// A partition goes, and is read on here, too.
    ReadsOnAfterAMove,
    /// A reset while a partition is on its way is not heard of.
    MoveMissesAReset,
    /// Which dead letters stand already is not told to the next shard.
    MoveForgetsDeadLetters,

    // ---- a consumer group
    /// What was read and is not in a file is forgotten when the group takes a partition back.
    ForgetsBuffersOnARevoke,
    /// A file that holds a lost partition is kept.
    KeepsAFileOfALostPartition,
    /// A partition that was lost is read on.
    ReadsOnWhatWasLost,
    /// Which dead letters stand already is not told to who is assigned a partition.
    AssignmentForgetsDeadLetters,
    /// Partitions are read on without a claim when the group assigns them.
    NoClaimOfAnAssignment,
    /// The group is told of offsets before they are in the table.
    TellsTheGroupFirst,

    // ---- dead letters
    /// Offsets are committed and their dead letters are not.
    SkipsTheDeadLetters,
    /// Dead dead letters are committed after the offsets that settle them.
    DeadLettersAfterOffsets,
    /// Dead letters from before the broker told topic ids are forgotten.
    IdentityTransferForgetsDeadLetters,
    /// What stands as a dead letter is judged again.
    JudgesDeadLettersAgain,
    /// Dead letters at a former place are not looked for.
    ForgetsFormerPlaces,
    /// A former place is forgotten while its dead letters are in doubt.
    ForgetsAPlaceInDoubt,
    /// Who opens a table does not claim it before dead letters are taken over.
    NoClaim,
    /// Files of dead letters are deleted when it is unknown whether their commit counts.
    DeletesDeadLettersInDoubt,
    /// The dead-letter table's offset can go back.
    DeadLetterOffsetsGoBack,

    // ---- by hand
    /// A move that was decided before another commit is made behind it.
    MovesFromAnOldLook,
    /// A move leaves no entry that says that it was meant.
    OffsetOverrideLeavesNoEntry,
    /// A move back does not remember where dead letters stand.
    MoveBackForgetsDeadLetters,
    /// An identity transfer leaves the last partition with who had it.
    AdoptForgetsAPartition,
    /// A topic that was created again is begun where the one before it stood.
    AdoptsOffsetsOfAFormerTopic,
    /// A dead letter whose file does not tell its topic stands for a record of the one that was created again.
    GuessesWhoseDeadLettersStand,
    /// A dead letter whose file does not tell its topic is replayed as one of the topic that was created again.
    ReplaysDeadLettersOfAFormerTopic,
    /// Dead letters of a topic stand for records of the one that was created again.
    TakesDeadLettersOfAFormerTopic,
    /// An identity transfer leaves no entry: who had the offsets is not told.
    AdoptLeavesNoEntry,
    /// A replay adds rows and does not say which dead letters it has tried.
    ReplayMovesNoTxn,
    /// A dead letter is replayed although its offset is not settled.
    ReplaysWhatIsNotResolved,
    /// A replay that finds dead letters tried by another one tries them again.
    ReplayIgnoresAnother,
    /// What was tried under a former table id is tried again.
    ReplayForgetsFormerNames,
    /// A replay deletes a file when it is unknown whether its commit counts.
    ReplayDeletesFilesInDoubt,

    // ---- checkpoints
    /// The hint is written before the checkpoint that it names.
    HintBeforeTheCheckpoint,
    /// The hint is written although it names a later checkpoint by now.
    HintGoesBack,
    /// A checkpoint leaves out an offset.
    CheckpointLosesAnOffset,
    /// A checkpoint forgets at once what was removed.
    CheckpointForgetsTombstones,
    /// A checkpoint keeps files that were removed.
    CheckpointKeepsRemovedFiles,
    /// A checkpoint holds only what is new since the last one.
    CheckpointForgetsTheLast,
    /// Clean-up removes versions that no checkpoint covers.
    CleansUpTooMuch,
}

/// Whether this bug is planted in what this thread runs.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}

/// Whether this bug is planted in what this thread runs.
#[cfg(feature = "planted")]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(feature = "planted")]
thread_local! {
    /// A simulated world is one thread.
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in what this thread runs from now on.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
