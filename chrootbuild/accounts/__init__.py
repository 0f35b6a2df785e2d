"""Account files: passwd, group, shadow, master.passwd, pwd.db and spwd.db as functions over bytes."""
