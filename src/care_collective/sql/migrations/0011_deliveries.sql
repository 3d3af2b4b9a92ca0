-- A member's letters are looked up when the next is planned: the one that waits, and how many disturbed a night.

create index deliveries_member_idx on care.deliveries (community_id, user_id, created_at);
-- Those given up are counted at every scrape.
create index deliveries_dead_idx on care.deliveries (dead_at) where dead_at is not null;
