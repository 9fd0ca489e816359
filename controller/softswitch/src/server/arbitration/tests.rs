use proto::MasterArbitrationUpdate;

use super::*;

const DEVICE: u64 = 7;

fn arbiter() -> Arbiter {
    Arbiter::new(DEVICE, 3, 3)
}

fn update(role: &str, id: Option<u128>) -> MasterArbitrationUpdate {
    let role = (!role.is_empty()).then(|| proto::Role { name: role.to_owned(), ..proto::Role::default() });
    MasterArbitrationUpdate { device_id: DEVICE, role, election_id: id.map(election_id), status: None }
}

fn with_config(mut update: MasterArbitrationUpdate, config: &str) -> MasterArbitrationUpdate {
    let config = Some(Any { type_url: config.to_owned(), value: Vec::new() });
    update.role.get_or_insert_default().config = config;
    update
}

/// Whom advice goes to, with which code, naming which election id.
fn brief(notices: &[Notice]) -> Vec<(ClientId, Code, Option<u128>)> {
    let brief = |(client, notice): &Notice| {
        assert_eq!(notice.device_id, DEVICE);
        let code = Code::from_i32(notice.status.as_ref().unwrap().code);
        (*client, code, notice.election_id.map(number))
    };
    notices.iter().map(brief).collect()
}

/// An update that makes its sender primary, both steps; the advice of both.
fn promote(
    arbiter: &mut Arbiter,
    client: ClientId,
    role: &str,
    id: u128,
) -> Vec<(ClientId, Code, Option<u128>)> {
    let change = arbiter.update(client, &update(role, Some(id))).unwrap();
    assert!(change.promoted);
    let mut notices = brief(&change.notices);
    notices.extend(brief(&arbiter.confirm(client)));
    notices
}

/// An update that leaves or makes its sender backup.
fn demote(
    arbiter: &mut Arbiter,
    client: ClientId,
    role: &str,
    id: Option<u128>,
) -> Vec<(ClientId, Code, Option<u128>)> {
    let change = arbiter.update(client, &update(role, id)).unwrap();
    assert!(!change.promoted);
    brief(&change.notices)
}

fn may_write(arbiter: &Arbiter, role: &str, id: u128) -> Result<(), Code> {
    let check = arbiter.check_primary(&(0, role.to_owned()), Some(id));
    check.map_err(|refusal| refusal.code)
}

fn refused(arbiter: &mut Arbiter, client: ClientId, update: &MasterArbitrationUpdate) -> Code {
    arbiter.update(client, update).unwrap_err().code
}

#[test]
fn the_highest_id_is_primary() {
    let mut arbiter = arbiter();
    assert_eq!(may_write(&arbiter, "", 1), Err(Code::PermissionDenied));
    assert_eq!(promote(&mut arbiter, 1, "", 10), [(1, Code::Ok, Some(10))]);
    assert_eq!(demote(&mut arbiter, 2, "", Some(5)), [(2, Code::AlreadyExists, Some(10))]);
    assert_eq!(may_write(&arbiter, "", 10), Ok(()));
    assert_eq!(may_write(&arbiter, "", 5), Err(Code::PermissionDenied));
    let told = promote(&mut arbiter, 3, "", 11);
    let expected =
        [(1, Code::AlreadyExists, Some(11)), (2, Code::AlreadyExists, Some(11)), (3, Code::Ok, Some(11))];
    assert_eq!(told, expected);
    assert_eq!(may_write(&arbiter, "", 10), Err(Code::PermissionDenied));
    assert_eq!(may_write(&arbiter, "", 11), Ok(()));
}

#[test]
fn nobody_writes_between_two_primaries() {
    let mut arbiter = arbiter();
    promote(&mut arbiter, 1, "", 10);
    let change = arbiter.update(2, &update("", Some(20))).unwrap();
    assert_eq!(brief(&change.notices), [(1, Code::AlreadyExists, Some(20))]);
    assert_eq!(may_write(&arbiter, "", 10), Err(Code::PermissionDenied));
    assert_eq!(may_write(&arbiter, "", 20), Err(Code::PermissionDenied));
    assert_eq!(arbiter.primaries().count(), 0);
    // A third comes before the second is confirmed.
    let change = arbiter.update(3, &update("", Some(30))).unwrap();
    assert_eq!(
        brief(&change.notices),
        [(1, Code::AlreadyExists, Some(30)), (2, Code::AlreadyExists, Some(30))]
    );
    assert_eq!(arbiter.confirm(2), []);
    assert_eq!(brief(&arbiter.confirm(3)), [(3, Code::Ok, Some(30))]);
    assert_eq!(may_write(&arbiter, "", 20), Err(Code::PermissionDenied));
    assert_eq!(may_write(&arbiter, "", 30), Ok(()));
}

#[test]
fn the_next_lower_id_does_not_move_up() {
    let mut arbiter = arbiter();
    promote(&mut arbiter, 1, "", 10);
    demote(&mut arbiter, 2, "", Some(9));
    assert_eq!(brief(&arbiter.leave(1)), [(2, Code::NotFound, Some(10))]);
    assert_eq!(may_write(&arbiter, "", 9), Err(Code::PermissionDenied));
    assert_eq!(may_write(&arbiter, "", 10), Err(Code::PermissionDenied));
    assert_eq!(demote(&mut arbiter, 2, "", Some(9)), [(2, Code::NotFound, Some(10))]);
    // The highest id ever seen is enough, whoever has it now.
    assert_eq!(promote(&mut arbiter, 2, "", 10), [(2, Code::Ok, Some(10))]);
    assert_eq!(may_write(&arbiter, "", 10), Ok(()));
}

#[test]
fn a_primary_that_leaves_before_it_is_confirmed_leaves_none() {
    let mut arbiter = arbiter();
    promote(&mut arbiter, 1, "", 10);
    arbiter.update(2, &update("", Some(20))).unwrap();
    assert_eq!(brief(&arbiter.leave(2)), [(1, Code::NotFound, Some(20))]);
    assert_eq!(arbiter.confirm(2), []);
    assert_eq!(may_write(&arbiter, "", 20), Err(Code::PermissionDenied));
}

#[test]
fn a_primary_may_step_down() {
    let mut arbiter = arbiter();
    promote(&mut arbiter, 1, "", 10);
    demote(&mut arbiter, 2, "", Some(5));
    let told = demote(&mut arbiter, 1, "", Some(4));
    assert_eq!(told, [(1, Code::NotFound, Some(10)), (2, Code::NotFound, Some(10))]);
    assert_eq!(may_write(&arbiter, "", 4), Err(Code::PermissionDenied));
    // Without an id it can never be primary.
    assert_eq!(demote(&mut arbiter, 1, "", None), [(1, Code::NotFound, Some(10))]);
    assert_eq!(arbiter.check_primary(&RoleKey::default(), None).unwrap_err().code, Code::PermissionDenied);
}

#[test]
fn a_primary_may_raise_its_id_or_repeat_it() {
    let mut arbiter = arbiter();
    promote(&mut arbiter, 1, "", 10);
    demote(&mut arbiter, 2, "", Some(5));
    let told = promote(&mut arbiter, 1, "", 10);
    assert_eq!(told, [(2, Code::AlreadyExists, Some(10)), (1, Code::Ok, Some(10))]);
    let told = promote(&mut arbiter, 1, "", 12);
    assert_eq!(told, [(2, Code::AlreadyExists, Some(12)), (1, Code::Ok, Some(12))]);
    assert_eq!(may_write(&arbiter, "", 10), Err(Code::PermissionDenied));
    assert_eq!(may_write(&arbiter, "", 12), Ok(()));
}

#[test]
fn no_id_is_below_any_id_and_zero_is_one() {
    let mut arbiter = arbiter();
    assert_eq!(demote(&mut arbiter, 1, "", None), [(1, Code::NotFound, None)]);
    assert_eq!(demote(&mut arbiter, 2, "", None), [(2, Code::NotFound, None)]);
    let told = promote(&mut arbiter, 2, "", 0);
    assert_eq!(told, [(1, Code::AlreadyExists, Some(0)), (2, Code::Ok, Some(0))]);
    assert_eq!(may_write(&arbiter, "", 0), Ok(()));
}

#[test]
fn roles_are_apart() {
    let mut arbiter = arbiter();
    promote(&mut arbiter, 1, "", 10);
    assert_eq!(promote(&mut arbiter, 2, "acl", 3), [(2, Code::Ok, Some(3))]);
    assert_eq!(may_write(&arbiter, "acl", 3), Ok(()));
    assert_eq!(may_write(&arbiter, "acl", 10), Err(Code::PermissionDenied));
    assert_eq!(may_write(&arbiter, "other", 3), Err(Code::NotFound));
    assert_eq!(arbiter.primaries().collect::<Vec<_>>(), [1, 2]);
    assert!(arbiter.is_primary(2));
    // Election ids are remembered when all clients of the role are gone.
    arbiter.leave(2);
    assert_eq!(demote(&mut arbiter, 2, "acl", Some(2)), [(2, Code::NotFound, Some(3))]);
}

#[test]
fn refusals() {
    let mut arbiter = arbiter();
    let other_device = MasterArbitrationUpdate { device_id: 8, ..update("", Some(1)) };
    assert_eq!(refused(&mut arbiter, 1, &other_device), Code::NotFound);
    assert_eq!(refused(&mut arbiter, 1, &MasterArbitrationUpdate::default()), Code::NotFound);
    promote(&mut arbiter, 1, "", 10);
    assert_eq!(refused(&mut arbiter, 2, &update("", Some(10))), Code::InvalidArgument);
    demote(&mut arbiter, 2, "", Some(9));
    assert_eq!(refused(&mut arbiter, 2, &update("", Some(10))), Code::InvalidArgument);
    assert_eq!(refused(&mut arbiter, 2, &update("other", Some(9))), Code::FailedPrecondition);
    assert_eq!(refused(&mut arbiter, 2, &other_device), Code::FailedPrecondition);
    // The same id in another role is another client's own.
    promote(&mut arbiter, 3, "other", 10);
}

#[test]
fn clients_and_roles_are_bounded() {
    let mut arbiter = arbiter();
    for client in 1..=3 {
        demote(&mut arbiter, client, "", None);
    }
    assert_eq!(refused(&mut arbiter, 4, &update("", None)), Code::ResourceExhausted);
    arbiter.leave(1);
    demote(&mut arbiter, 4, "", None);
    demote(&mut arbiter, 5, "a", None);
    promote(&mut arbiter, 6, "b", 10);
    assert_eq!(refused(&mut arbiter, 7, &update("c", None)), Code::ResourceExhausted);
    // A role that was left keeps its election id, until a new role has no other place.
    arbiter.leave(6);
    demote(&mut arbiter, 6, "b", Some(9));
    arbiter.leave(6);
    promote(&mut arbiter, 7, "c", 1);
    assert_eq!(refused(&mut arbiter, 8, &update("b", Some(9))), Code::ResourceExhausted);
}

#[test]
fn the_primarys_role_config_is_told_to_all() {
    let mut arbiter = arbiter();
    let config = |notices: &[Notice]| {
        notices[0].1.role.as_ref().map(|role| role.config.clone().map(|any| any.type_url))
    };
    arbiter.update(1, &with_config(update("", Some(10)), "one")).unwrap();
    assert_eq!(config(&arbiter.confirm(1)), Some(Some("one".to_owned())));
    let backup = arbiter.update(2, &with_config(update("", Some(9)), "two")).unwrap();
    assert_eq!(config(&backup.notices), Some(Some("one".to_owned())));
    let changed = arbiter.update(1, &with_config(update("", Some(10)), "three")).unwrap();
    assert_eq!(changed.notices[0].0, 2);
    assert_eq!(config(&changed.notices), Some(Some("three".to_owned())));
    // Without role or configuration nothing is said of one.
    let unset = arbiter.update(1, &update("", Some(10))).unwrap();
    assert_eq!(config(&unset.notices), None);
}
