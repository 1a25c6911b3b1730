//! Where the members of a row's objects stand, in its JSON and in its canonical text.
//!
//! It owns the noting while a row is written, for objects at every depth, those
//! in lists included. What is done with the members is `vary`'s.

use std::ops::Range;

/// A member of an object.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its object: members of one have the same number, and no other has it.
    pub object: usize,
    /// Lists around it.
    lists: usize,
    /// Name and value; a comma or the closing brace stands behind them.
    pub json: Range<usize>,
    /// Its leaves, and those that follow without being in the JSON.
    pub canonical: Range<usize>,
    /// Leaves of the schema that are null if the member is missing; a list is one.
    pub leaves: usize,
    /// The first member that begins behind it; those between are inside of it.
    pub after: usize,
}

/// The members of a row in the order in which they begin.
#[derive(Default)]
pub(crate) struct Outline {
    pub members: Vec<Member>,
    /// The objects that are open: their numbers, and the member that was begun last.
    open: Vec<(usize, Option<usize>)>,
    objects: usize,
    lists: usize,
}

/// How long both texts are: where the next thing will stand.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub json: usize,
    pub canonical: usize,
}

impl Outline {
    pub fn clear(&mut self) {
        self.members.clear();
        self.open.clear();
        (self.objects, self.lists) = (0, 0);
    }

    pub fn open_object(&mut self) {
        self.open.push((self.objects, None));
        self.objects += 1;
    }

    pub fn close_object(&mut self, place: Place) {
        self.end_member(place);
        self.open.pop();
    }

    pub fn open_list(&mut self) {
        self.lists += 1;
    }

    pub fn close_list(&mut self) {
        self.lists -= 1;
    }

    /// The member before it ends here, in front of the comma.
    pub fn end_member(&mut self, place: Place) {
        let after = self.members.len();
        let Some((_, last)) = self.open.last_mut() else { return };
        if let Some(member) = last.take().map(|index| &mut self.members[index]) {
            member.json.end = place.json;
            member.canonical.end = place.canonical;
            member.after = after;
        }
    }

    pub fn begin_member(&mut self, place: Place) {
        let Some((object, last)) = self.open.last_mut() else { return };
        *last = Some(self.members.len());
        self.members.push(Member {
            object: *object,
            lists: self.lists,
            json: place.json..place.json,
            canonical: place.canonical..place.canonical,
            leaves: 0,
            after: 0,
        });
    }

    /// A leaf was written: it is one of every member around it that is in the same list.
    pub fn leaf(&mut self) {
        for index in self.open.iter().filter_map(|(_, last)| *last) {
            let member = &mut self.members[index];
            member.leaves += usize::from(member.lists == self.lists);
        }
    }
}
