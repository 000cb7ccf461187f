# Inside a box on a file system with quotas: ada is held to 64 MB, bob is not, and each fills its cage.
printf 'linger = 3600\n[limits]\ndisk = "64M"\n' >/tmp/ada.toml
echo 'linger = 3600' >/tmp/bob.toml
for name in ada bob; do
    hivectl spawn $name --toml /tmp/$name.toml
    hivectl send $name hello
    # The run that has had a turn lingers; that of the trial before it does not.
    grep --quiet --max-count=1 . < <(
        journalctl --follow --lines=all --output=cat HIVE_EVENT=rehearsed HIVE_AGENT=$name)
    leader=$(machinectl show h-$name --property=Leader --value)
    nsenter --target $leader --user --mount --pid --setuid 0 --setgid 0 sh -c '
        head --bytes=70M /dev/zero >/state/fill
        echo "$0 has $(stat --format=%s /state/fill)"
        echo hello >/shared/$0 && echo "$0 shares"' $name 2>&1
done
hivectl doctor
hivectl destroy ada
hivectl revive ada
systemctl restart hive-renew.service && echo renewed
hivectl doctor
