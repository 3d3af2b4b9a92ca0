-- What a community does for its members by itself and by its coordinators: applications are found without reading every
-- member, and chores that one node at a time does are held in a table.

create index profiles_applications_idx
  on public.profiles (community_id, verification_status, created_at, user_id)
  where verification_status <> 'approved' and deleted_at is null;
