-- What a text is. CHECK constraints call these functions, so they are part of the tables and never replaced:
-- another rule is another function in a later migration.

create function care.trim_text(p_text text)
returns text
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- Unicode's White_Space, the list WHITE_SPACE of text.py
  return btrim(p_text,
    U&'\0009\000A\000B\000C\000D\0020\0085\00A0\1680\2000\2001\2002\2003\2004\2005\2006\2007\2008\2009\200A'
        '\2028\2029\202F\205F\3000'
  );
end
$$;
comment on function care.trim_text(text) is 'The text without Unicode white space at both ends: the form that is stored.';

create function care.is_blank(p_text text)
returns boolean
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- white space, Cc, Cf and what is drawn empty, the list BLANK of text.py without NUL
  return btrim(p_text,
    U&'\0001\0002\0003\0004\0005\0006\0007\0008\0009\000A\000B\000C\000D\000E\000F\0010\0011\0012\0013\0014'
        '\0015\0016\0017\0018\0019\001A\001B\001C\001D\001E\001F\0020\007F\0080\0081\0082\0083\0084\0085\0086'
        '\0087\0088\0089\008A\008B\008C\008D\008E\008F\0090\0091\0092\0093\0094\0095\0096\0097\0098\0099\009A'
        '\009B\009C\009D\009E\009F\00A0\00AD\034F\0600\0601\0602\0603\0604\0605\061C\06DD\070F\0890\0891\08E2'
        '\115F\1160\1680\180E\2000\2001\2002\2003\2004\2005\2006\2007\2008\2009\200A\200B\200C\200D\200E\200F'
        '\2028\2029\202A\202B\202C\202D\202E\202F\205F\2060\2061\2062\2063\2064\2066\2067\2068\2069\206A\206B'
        '\206C\206D\206E\206F\2800\3000\3164\FEFF\FFA0\FFF9\FFFA\FFFB\+0110BD\+0110CD\+013430\+013431\+013432'
        '\+013433\+013434\+013435\+013436\+013437\+013438\+013439\+01343A\+01343B\+01343C\+01343D\+01343E'
        '\+01343F\+01BCA0\+01BCA1\+01BCA2\+01BCA3\+01D173\+01D174\+01D175\+01D176\+01D177\+01D178\+01D179'
        '\+01D17A\+0E0001\+0E0020\+0E0021\+0E0022\+0E0023\+0E0024\+0E0025\+0E0026\+0E0027\+0E0028\+0E0029'
        '\+0E002A\+0E002B\+0E002C\+0E002D\+0E002E\+0E002F\+0E0030\+0E0031\+0E0032\+0E0033\+0E0034\+0E0035'
        '\+0E0036\+0E0037\+0E0038\+0E0039\+0E003A\+0E003B\+0E003C\+0E003D\+0E003E\+0E003F\+0E0040\+0E0041'
        '\+0E0042\+0E0043\+0E0044\+0E0045\+0E0046\+0E0047\+0E0048\+0E0049\+0E004A\+0E004B\+0E004C\+0E004D'
        '\+0E004E\+0E004F\+0E0050\+0E0051\+0E0052\+0E0053\+0E0054\+0E0055\+0E0056\+0E0057\+0E0058\+0E0059'
        '\+0E005A\+0E005B\+0E005C\+0E005D\+0E005E\+0E005F\+0E0060\+0E0061\+0E0062\+0E0063\+0E0064\+0E0065'
        '\+0E0066\+0E0067\+0E0068\+0E0069\+0E006A\+0E006B\+0E006C\+0E006D\+0E006E\+0E006F\+0E0070\+0E0071'
        '\+0E0072\+0E0073\+0E0074\+0E0075\+0E0076\+0E0077\+0E0078\+0E0079\+0E007A\+0E007B\+0E007C\+0E007D'
        '\+0E007E\+0E007F'
  ) = '';
end
$$;
comment on function care.is_blank(text) is 'Whether nothing visible remains of the text.';

create function care.is_text(p_text text, p_minimum integer, p_maximum integer)
returns boolean
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return char_length(p_text) between p_minimum and p_maximum
     and p_text = care.trim_text(p_text)
     and not care.is_blank(p_text);
end
$$;
comment on function care.is_text(text, integer, integer) is
  'Whether a text may be stored: trimmed, not blank, its length in code points within the limits.';
