from lama_ref.cli import main

main()
