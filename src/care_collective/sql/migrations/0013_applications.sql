-- Who wants to join is found without reading every member.

create index profiles_applications_idx
  on public.profiles (community_id, verification_status, created_at, user_id)
  where verification_status <> 'approved' and deleted_at is null;
