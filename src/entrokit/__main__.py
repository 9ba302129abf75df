from entrokit.cli import main

main()
