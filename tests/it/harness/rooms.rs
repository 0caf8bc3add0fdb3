use crate::support::{Place, Room, SUITES};

#[test]
fn a_room_holds_the_release_asked_for() {
    for suite in SUITES {
        let room = Room::new(suite);
        let release = room.bash(". /etc/os-release; echo $VERSION_CODENAME").ok();
        assert_eq!(release.trim(), suite);
    }
}
