-- Whether a letter with a link to a new password was made lately is asked at each "forgotten".

create index deliveries_password_reset_idx on care.deliveries (community_id, user_id, created_at)
  where kind = 'password_reset';
