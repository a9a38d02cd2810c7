//! The contract of `Queue`: one suite, for every backend, on real files.

#[path = "../support/mod.rs"]
mod support;

mod appending;
mod backlog;
mod counted;
mod falling_at_once;
mod falling_back;
mod inputs;
mod leasing;
mod mutes;
mod on_jetstream;
mod quarantine;
mod quotas;
mod raising;
mod settling;
mod threads;

use std::path::Path;

use auditrelay_store::{Engine, Limits, Queue, SledOptions};

/// Where the suite's queues are.
pub trait Backend {
    /// The queue of a folder, made if there is none.
    fn at(dir: &Path) -> Engine {
        Self::limited(dir, Limits::default())
    }

    /// The same, with limits.
    fn limited(dir: &Path, limits: Limits) -> Engine;
}

/// What the suite needs of a queue besides the contract.
pub trait Sound: Queue {
    /// Panics unless the ledger balances and agrees with what is stored.
    fn sound(&self) -> impl Future<Output = ()> + Send;
}

impl Sound for Engine {
    async fn sound(&self) {
        support::balanced(self).await;
    }
}

/// In files of the folder.
struct OnDisk;

impl Backend for OnDisk {
    fn limited(dir: &Path, limits: Limits) -> Engine {
        let options = SledOptions {
            limits,
            segment_bytes: 1 << 20,
            ..support::options(dir)
        };
        let opened = Engine::open(&options).expect("opens");
        assert!(opened.moved_aside.is_none(), "{:?}", opened.moved_aside);
        opened.queue
    }
}

/// A stream is on no disk that could be measured.
#[tokio::test]
async fn copies_wait_until_the_disk_has_room() {
    falling_back::copies_wait_until_the_disk_has_room::<OnDisk>().await;
}

macro_rules! contract {
    ($($module:ident { $($test:ident,)* })*) => {
        $($(
            #[tokio::test]
            async fn $test() {
                $module::$test::<OnDisk>().await;
            }
        )*)*

        mod jetstream {
            use super::on_jetstream::{OnStream, Running};

            $($(
                #[tokio::test]
                async fn $test() {
                    let Some(_running) = Running::start() else { return };
                    super::$module::$test::<OnStream>().await;
                }
            )*)*
        }
    };
}

contract!(
    appending {
        what_was_appended_is_there_after_a_restart_in_order,
        many_at_once_are_all_there,
        large_blocks_are_routed_a_few_at_a_time,
        a_writer_that_panics_is_a_queue_that_failed,
        seen_keys_survive_and_are_forgotten_by_block,
        routed_batches_are_kept_for_a_replay_as_long_as_they_may,
    }
    backlog {
        what_waits_is_known_by_channel_and_severity,
        since_when_it_waits_is_known_after_a_restart_and_of_what_comes_back,
        notices_and_copies_are_part_of_it,
        what_a_quota_takes_is_no_part_of_it,
    }
    counted {
        who_filtered_and_what_was_muted_is_counted_with_the_routing,
        of_too_many_routes_the_one_that_filtered_nothing_for_the_longest_is_forgotten,
        what_rates_counted_adds_up_until_all_of_it_is_said_anew,
    }
    inputs {
        what_was_read_is_known_with_its_batch_and_after_a_restart,
        a_batch_of_one_block_is_one_however_much_is_in_it,
        a_note_counts_more_than_batches_before_it,
        an_input_is_forgotten_on_request_and_the_oldest_beyond_the_limit,
    }
    leasing {
        severe_first_then_old_first,
        a_lease_may_end_inside_a_block_and_the_rest_follows,
        a_lease_of_many_small_blocks_stays_within_one_record,
        a_lease_comes_back_after_a_restart_with_the_same_members,
        a_lease_says_since_when_it_may_have_been_posted,
        a_record_can_be_leased_in_ever_smaller_parts,
    }
    settling {
        released_members_wait_again_and_gather_with_others,
        a_lease_settles_once,
        buried_members_are_dead_and_counted,
        notices_are_delivered_and_are_no_events,
        what_a_message_told_stays_readable,
        what_was_told_is_forgotten_by_time_and_by_size,
        copies_are_counted_apart,
    }
    falling_back {
        what_is_critical_is_copied_once_and_knows_for_whom_it_was_meant,
        what_is_leased_is_copied_and_what_was_delivered_is_not,
        notices_are_not_copied_and_replayed_events_are,
        a_copy_is_never_copied_again,
        many_are_copied_in_pieces_oldest_first_and_a_restart_repeats_nothing,
        a_dead_letter_that_is_raised_is_copied_if_it_was_not_before,
        asking_for_nothing_new_writes_nothing,
        copies_wait_until_there_is_room_for_them,
        a_copy_that_dies_and_is_raised_still_knows_for_whom_it_was_meant,
    }
    falling_at_once {
        asking_twice_at_once_copies_once,
        beside_a_lane_that_delivers_and_buries_each_is_copied_once_at_the_most,
        what_dies_while_it_is_copied_is_copied_once,
    }
    mutes {
        a_mute_is_known_at_once_and_after_a_restart_with_its_counts,
        the_end_is_one_commit_with_its_counts_and_notices,
        what_was_routed_while_a_mute_ended_is_counted_and_told_too,
        only_so_many_are_active_and_only_so_many_that_ended_are_kept,
        what_is_too_long_is_refused_and_harms_nothing,
    }
    threads {
        a_thread_is_noted_with_the_ack_and_kept_until_it_is_finished,
        too_many_threads_give_way_oldest_first,
        a_name_that_is_too_long_is_not_noted,
        threads_of_channels_are_apart,
    }
    raising {
        a_dead_letter_keeps_what_it_was_and_why,
        dead_letters_are_found_by_what_they_are,
        a_redrive_happens_once,
        redriven_members_can_be_delivered_or_die_again,
        a_dropped_letter_is_given_up_and_counted,
        part_of_a_record_may_be_dead_and_the_rest_wait,
    }
    quarantine {
        quarantined_items_are_read_page_by_page_and_survive,
        only_the_newest_quarantined_items_are_kept,
    }
    quotas {
        a_channel_over_its_quota_gives_up_its_least_severe_oldest_first_and_is_told,
        what_is_leased_is_never_given_up,
        dead_letters_over_their_quota_are_given_up_oldest_first,
        quarantine_is_bounded_by_bytes,
        one_dead_channel_never_brings_the_queue_to_its_mark,
        above_the_mark_batches_are_refused_and_below_it_they_are_not,
    }
);
