# Plays a guest's console on its terminal: getty and login, in the ways that WAY names.
try=0
while :; do
  case $WAY in
    autologin) break ;;
    early) if [ $try = 0 ]; then read -r _; fi ;;
    never) printf 'booting\r\n'; read -r _; continue ;;
    maintenance) printf 'Give root password for maintenance\n(or press Control-D to continue): '; read -r _ ;;
  esac
  printf '\033[32mDebian GNU/Linux 12 dut0 ttyS0\033[0m\n\ndut0 login: '
  [ "$WAY" != kernel ] || printf '[   12.345678] random: crng init done\n'
  read -r user
  printf 'Pass'; printf 'word: '
  [ "$WAY" != kernel ] || printf '[   13.345678] e1000: link up\n'
  [ "$WAY" = echo ] || stty -echo
  read -r password
  stty echo
  printf '\n'
  try=$((try + 1))
  echo "$user:$password" >>"$TRIES"
  if [ "$WAY" = expired ]; then
    printf 'You are required to change your password immediately (administrator enforced).\nCurrent password: '
    read -r _
  fi
  [ "$user:$password" = root:geheim ] && break
  printf '\nLogin incorrect\n'
done
printf 'Last login: Thu Nov 26 09:00:00 UTC 2026 on ttyS0\nAll rights reserved.\n'
export PS1='\[\033[1;31m\]\u@\h\[\033[0m\]:\w\$ '
export PROMPT_COMMAND='printf "\033]0;title\007"'
case $SHELL_NAME in
  bash) exec bash --noprofile --norc -i ;;
  *) export PS1='$ '; exec $SHELL_NAME -i ;;
esac
